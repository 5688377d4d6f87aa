//! `likewise explain`: which tokens of two texts carry their score.

mod attention;
mod page;
mod table;

use std::path::PathBuf;

use likewise::{AttentionLayers, Explanation, OutputFile};

use crate::arguments::{KindArgs, ModelArgs};
use crate::command_line::TEXT_RULE;
use crate::model::Model;
use crate::outcome::{Outcome, UsageError};
use crate::{input, output, stdout};

/// Show which tokens of two texts carry their score.
#[derive(clap::Args)]
#[command(after_help = format!("Examples:\n  \
    likewise explain \"A happy person\" \"A happy dog\"\n  \
    likewise explain --html why.html \"A happy person\" \"A happy dog\"\n  \
    likewise explain --layer 5 --head 0 \"A happy person\" \"A happy dog\"\n\n\
    The contributions of all pairs of tokens add up to the score, if the model pools the vectors of\n\
    tokens. A late-interaction model has a pair for each token of the query, which is the first text.\n\
    A sparse encoder has terms instead of pairs. Distances and cross-encoders cannot be divided.\n\n{TEXT_RULE}"))]
pub(crate) struct Args {
    /// First text, or the query; '-' for a line of stdin
    first: String,

    /// Second text; missing if '-' stands for both lines of stdin
    second: Option<String>,

    /// Number of pairs or terms to print, those that carry most
    #[arg(long, value_name = "K", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    top_k: u32,

    /// Layer whose attention to print, the first being 0 [default: none]
    #[arg(long, value_name = "N")]
    layer: Option<usize>,

    /// Head of that layer, the first being 0 [default: the mean of all heads]
    #[arg(long, value_name = "N", requires = "layer")]
    head: Option<usize>,

    /// Print a JSON object with everything, attention of all layers included
    #[arg(long)]
    json: bool,

    /// Output file (.html), a page that stands alone [default: none]
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    #[command(flatten)]
    kind: KindArgs,

    #[command(flatten)]
    model: ModelArgs,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let arguments: Vec<String> = std::iter::once(&args.first).chain(&args.second).cloned().collect();
    let texts = input::texts(&arguments, None)?;
    let [a, b] = texts.as_slice() else {
        let what = format!("expected two texts, found {}; `likewise similarity` scores more", texts.len());
        return Err(Box::new(UsageError(what)));
    };
    let file = args.html.as_ref().map(OutputFile::create).transpose()?;
    let model = args.model.open_any(&args.kind)?;
    let layers = match args.layer {
        Some(layer) => AttentionLayers::One(layer),
        None if args.json || file.is_some() => AttentionLayers::All,
        None => AttentionLayers::None,
    };
    let explanation = explain(&model, a, b, layers)?;
    args.check_attention(&explanation)?;
    output::note_truncation(&explanation.texts.each_ref().map(|text| text.usage));
    if let Some(mut file) = file {
        let page = page::page(&explanation)?;
        file.write(|out| out.write_all(page.as_bytes()))?;
        file.commit()?;
        if !args.json {
            return Ok(());
        }
    }
    stdout::write(|out| {
        if args.json {
            return writeln!(out, "{}", explanation.to_json());
        }
        table::print(out, &explanation, args.top_k as usize)?;
        if args.layer.is_some() {
            for text in &explanation.texts {
                attention::print(out, text, args.head)?;
            }
        }
        Ok(())
    })?;
    Ok(())
}

fn explain(model: &Model, a: &str, b: &str, layers: AttentionLayers) -> Outcome<Explanation> {
    Ok(match model {
        Model::Embedder(model) => model.explain_with_attention(a, b, layers)?,
        Model::SparseEncoder(model) => model.explain_with_attention(a, b, layers)?,
        Model::MultiVector(model) => model.explain_with_attention(a, b, layers)?,
        Model::CrossEncoder(model) => {
            return Err(format!(
                "{}: expected a model that computes vectors, found a cross-encoder: it reads both texts at once, so its \
                 score is no sum over pairs of tokens; `likewise trace --site probabilities` records its attention",
                model.info().name
            )
            .into());
        }
    })
}

impl Args {
    /// Checks that the model has the layer and the head.
    fn check_attention(&self, explanation: &Explanation) -> Result<(), UsageError> {
        let Some(layer) = self.layer else { return Ok(()) };
        let layers = explanation.layers;
        if layers == 0 {
            return Err(UsageError(format!("--layer {layer}: expected none, because this model has no attention")));
        }
        if layer >= layers {
            return Err(UsageError(format!("--layer {layer}: expected 0 to {} for this model", layers - 1)));
        }
        let heads = explanation.texts.iter().flat_map(|text| &text.attention).map(|layer| layer.heads()).max();
        match (self.head, heads) {
            (Some(head), Some(heads)) if head >= heads => {
                Err(UsageError(format!("--head {head}: expected 0 to {} for this model", heads - 1)))
            }
            _ => Ok(()),
        }
    }
}

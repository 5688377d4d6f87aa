//! `likewise bench`: the speed of embedding texts, or of scoring them against a query.

use std::path::PathBuf;
use std::time::Instant;

use likewise::{Level, ModelInfo, Precision, SparseRow};
use serde_json::json;

use crate::arguments::{KindArgs, ModelArgs};
use crate::model::Model;
use crate::outcome::{Outcome, UsageError};
use crate::{input, progress, stdout};

/// Measure the speed of embedding texts, or of scoring them against a query.
#[derive(clap::Args)]
#[command(
    after_help = "Times cover tokenization, encoder and pooling. The first run is a warm-up; the result is the median of\n\
    the others.\n\n\
    Examples:\n  likewise bench --model all-MiniLM-L6-v2 --input sentences.txt --repeat 5\n  \
    likewise bench --model ms-marco-MiniLM-L6-v2 --query \"a query\" --input in.txt"
)]
pub(crate) struct Args {
    /// File of texts, one per line; '-' for stdin
    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    /// Query to score the texts against; for a cross-encoder only
    #[arg(long, value_name = "TEXT")]
    query: Option<String>,

    /// Number of timed runs over all texts
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    repeat: u32,

    /// Print a JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    kind: KindArgs,

    #[command(flatten)]
    model: ModelArgs,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let texts = input::lines(&args.input)?;
    if texts.is_empty() {
        return Err(format!("{}: expected at least one text, found none", input::label(&args.input)).into());
    }
    let start = Instant::now();
    let workload = Workload::new(args.model.open_any(&args.kind)?, args.query.clone())?;
    let load_seconds = start.elapsed().as_secs_f64();
    let resident = memory_mib("VmRSS:");
    let bar = progress::text_bar(texts.len());
    let (results, token_counts) = workload.run(&texts, |done| bar.inc(done as u64))?;
    bar.finish_and_clear();
    check_batch_invariance(&workload, &texts, &results)?;
    let info = workload.settings();

    let mut seconds = Vec::new();
    for _ in 0..args.repeat {
        let start = Instant::now();
        std::hint::black_box(workload.run(&texts, |_| ())?);
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let seconds = (seconds[(seconds.len() - 1) / 2] + seconds[seconds.len() / 2]) / 2.0;
    let peak = measure_peak(&info);
    let tokens: usize = token_counts.iter().sum();
    let operations: f64 = token_counts.iter().map(|&tokens| workload.operations(tokens)).sum();
    let fraction = operations / seconds / peak;

    let rate = |n: usize| n as f64 / seconds;
    stdout::write(|out| {
        if args.json {
            let result = json!({
                "texts": texts.len(), "tokens": tokens, "seconds": seconds, "texts_per_s": rate(texts.len()),
                "tokens_per_s": rate(tokens), "load_seconds": load_seconds, "peak_rss_mib": memory_mib("VmHWM:"),
                "resident_mib": resident,
                "level": info.level.name(), "precision": info.precision.name(), "threads": info.threads,
                "simd_peak_gflops": peak / 1e9, "fraction_of_peak": fraction,
            });
            return writeln!(out, "{result}");
        }
        writeln!(out, "{} texts, {tokens} tokens in {seconds:.4} s (median of {})", texts.len(), args.repeat)?;
        writeln!(out, "{:.1} texts/s, {:.0} tokens/s", rate(texts.len()), rate(tokens))?;
        // Static embeddings have no products that the peak could be compared with.
        if operations > 0.0 {
            writeln!(
                out,
                "{:.1} % of the {:.0} G{}/s peak of {} on {} threads",
                100.0 * fraction,
                peak / 1e9,
                if info.precision == Precision::Int8 { "op" } else { "FLOP" },
                info.level,
                info.threads
            )?;
        }
        let mib = |mib: Option<f64>| mib.map_or_else(|| "unknown".to_owned(), |mib| format!("{mib:.0} MiB"));
        let peak = memory_mib("VmHWM:");
        writeln!(out, "loaded in {load_seconds:.3} s, then {} resident, peak {}", mib(resident), mib(peak))
    })?;
    Ok(())
}

/// What is timed.
struct Workload {
    model: Model,
    query: Option<String>,
}

/// How a model is run.
struct Settings {
    level: Level,
    precision: Precision,
    threads: usize,
}

impl Workload {
    /// # Errors
    /// If a cross-encoder has no query, or another model has one.
    fn new(model: Model, query: Option<String>) -> Result<Self, UsageError> {
        match (&model, &query) {
            (Model::CrossEncoder(_), None) => {
                Err(UsageError("no query: a cross-encoder needs --query TEXT, to score the texts against".to_owned()))
            }
            (Model::Embedder(_) | Model::SparseEncoder(_) | Model::MultiVector(_), Some(_)) => {
                Err(UsageError("--query: only for a cross-encoder, and this model computes vectors".to_owned()))
            }
            _ => Ok(Self { model, query }),
        }
    }

    /// Returns the results of the texts, and the tokens of each pass.
    fn run(&self, texts: &[String], progress: impl Fn(usize) + Sync) -> Outcome<(Results, Vec<usize>)> {
        match &self.model {
            Model::Embedder(model) => {
                let vectors = model.embed_with_progress(texts, progress)?;
                let tokens = vectors.usage().iter().map(|usage| usage.used).collect();
                Ok((Results::of_equal_length(vectors.into_vec(), texts.len()), tokens))
            }
            Model::CrossEncoder(model) => {
                let query = self.query.as_deref().unwrap_or_default();
                let pairs: Vec<(&str, &str)> = texts.iter().map(|text| (query, text.as_str())).collect();
                let scores = model.predict_with_progress(&pairs, progress)?;
                let results = Results::of_equal_length(scores.as_slice().to_vec(), texts.len());
                Ok((results, scores.token_counts().to_vec()))
            }
            Model::SparseEncoder(model) => {
                let vectors = model.embed_with_progress(texts, progress)?;
                let tokens = vectors.usage().iter().map(|usage| usage.used).collect();
                // An index has other bits than another index, also as a float.
                let elements = |row: SparseRow<'_>| {
                    row.indices.iter().map(|&index| f32::from_bits(index)).chain(row.values.iter().copied()).collect()
                };
                Ok((vectors.rows().map(elements).collect(), tokens))
            }
            Model::MultiVector(model) => {
                let vectors = model.encode_documents_with_progress(texts, progress)?;
                let tokens = vectors.usage().iter().map(|usage| usage.used).collect();
                Ok((vectors.iter().map(|rows| rows.as_slice().to_vec()).collect(), tokens))
            }
        }
    }

    fn operations(&self, tokens: usize) -> f64 {
        match &self.model {
            Model::Embedder(model) => model.operations(tokens),
            Model::CrossEncoder(model) => model.operations(tokens),
            Model::SparseEncoder(model) => model.operations(tokens),
            Model::MultiVector(model) => model.operations(tokens),
        }
    }

    fn settings(&self) -> Settings {
        let ModelInfo { level, precision, threads, .. } = self.model.info();
        Settings { level, precision, threads }
    }
}

/// The elements of the results of texts, in one list: copying each result would take longer than
/// computing those of static embeddings.
struct Results {
    elements: Vec<f32>,
    /// Where each result ends.
    ends: Vec<usize>,
}

impl Results {
    fn of_equal_length(elements: Vec<f32>, texts: usize) -> Self {
        let length = elements.len() / texts.max(1);
        Self { elements, ends: (1..=texts).map(|text| text * length).collect() }
    }

    fn row(&self, i: usize) -> &[f32] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.elements[start..self.ends[i]]
    }
}

impl FromIterator<Vec<f32>> for Results {
    fn from_iter<T: IntoIterator<Item = Vec<f32>>>(rows: T) -> Self {
        let mut results = Self { elements: Vec::new(), ends: Vec::new() };
        for row in rows {
            results.elements.extend(row);
            results.ends.push(results.elements.len());
        }
        results
    }
}

/// Fails if the first, the middle or the last text has other bits alone than in the batch.
fn check_batch_invariance(workload: &Workload, texts: &[String], results: &Results) -> Outcome {
    for i in [0, texts.len() / 2, texts.len() - 1] {
        let (alone, _) = workload.run(&texts[i..=i], |_| ())?;
        let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
        let same = bits(alone.row(0)) == bits(results.row(i));
        if !same {
            return Err(format!(
                "text {i}: expected the same result alone and in a batch of {}, found different bits",
                texts.len()
            )
            .into());
        }
    }
    Ok(())
}

/// Measures the multiply-add rate of all threads at the same time, in FLOP/s. If the operating
/// system allows fewer threads, the result is scaled to all.
fn measure_peak(info: &Settings) -> f64 {
    const ROUNDS: usize = 20;
    let measure = || likewise_kernels::peak::multiply_add_peak(info.level, info.precision, ROUNDS);
    std::thread::scope(|scope| {
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, measure).ok();
        let others: Vec<_> = (1..info.threads).map_while(spawn).collect();
        let measured = 1 + others.len();
        let own = measure();
        let join = |thread: std::thread::ScopedJoinHandle<'_, f64>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let sum = own + others.into_iter().map(join).sum::<f64>();
        sum * info.threads as f64 / measured as f64
    })
}

/// Returns the resident memory of this process in MiB, now ("VmRSS:") or at its peak ("VmHWM:").
/// None except on Linux.
fn memory_mib(field: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

//! A tiny encoder of every kind of join, norm and linear layer, compared with the same network in
//! f64.

use std::collections::BTreeMap;

use likewise_kernels::Level;
use likewise_kernels::math::Activation;
use likewise_kernels::quant::Precision;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::spec::{
    AttentionSpec, EmbeddingsSpec, EncoderSpec, Family, FeedForwardSpec, JoinSpec, LayerSpec, LinearPart, LinearSpec,
    NormKind, NormSpec, PositionTableSpec, RelativeBiasSpec, RotarySpec, SublayerSpec, TableSpec, Window,
};
use super::{ComputeConfig, Encoder, PassBuffers, Workspace};
use crate::batch::{Batch, PositionIds};
use crate::checkpoint::Checkpoint;
use crate::error::Error;
use crate::parallel::{Pool, TeamMember};
use crate::trace::NullObserver;

const HIDDEN: usize = 24;
const HEADS: usize = 2;
/// H·d is not D.
const HEAD_SIZE: usize = 16;
const WIDTH: usize = HEADS * HEAD_SIZE;
const INTERMEDIATE: usize = 40;
const VOCABULARY: usize = 10;
const POSITIONS: usize = 8;
const EPSILON: f32 = 1e-5;

const IDS: [u32; 6] = [3, 1, 4, 1, 5, 9];

const SLOPES: [f32; HEADS] = [0.5, 0.125];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Post,
    Pre,
    Sandwich,
    /// Pre-norm without a norm before the first attention, as in ModernBERT.
    PreWithoutFirst,
    /// Pre-norm with RMS norms, rotations, a window of one token on both sides, gates, and a
    /// projection of narrow embeddings without a norm.
    Rotary,
    /// Post-norm with a bias by distance, causal attention, another scale, and one layer applied
    /// twice.
    Slopes,
}

impl Kind {
    fn is_post_norm(self) -> bool {
        matches!(self, Self::Post | Self::Slopes)
    }

    /// The width of the embeddings before their projection.
    fn embedding_width(self) -> usize {
        if matches!(self, Self::Rotary) { 12 } else { HIDDEN }
    }

    fn window(self) -> Window {
        match self {
            Self::Rotary => Window::symmetric(1),
            Self::Slopes => Window::CAUSAL,
            _ => Window::FULL,
        }
    }
}

fn norm(kind: Kind, name: &str, has_bias: bool) -> NormSpec {
    if matches!(kind, Kind::Rotary) {
        return NormSpec::root_mean_square(name, EPSILON);
    }
    let bias = has_bias.then(|| format!("{name}.bias"));
    NormSpec { kind: NormKind::LayerNorm, weight: format!("{name}.weight"), bias, epsilon: EPSILON }
}

fn sublayer<F>(kind: Kind, body: F, name: &str, is_first: bool) -> SublayerSpec<F> {
    let input_norm = Some(norm(kind, &format!("{name}.input_norm"), false));
    let output_norm = norm(kind, &format!("{name}.output_norm"), true);
    let (input_norm, join) = match kind {
        Kind::Post | Kind::Slopes => (None, JoinSpec::AddThenNorm(output_norm)),
        Kind::PreWithoutFirst if is_first => (None, JoinSpec::Add),
        Kind::Pre | Kind::PreWithoutFirst | Kind::Rotary => (input_norm, JoinSpec::Add),
        Kind::Sandwich => (input_norm, JoinSpec::NormThenAdd(output_norm)),
    };
    SublayerSpec { input_norm, body, join }
}

/// Describes layer i. Queries, keys and values are rows of one tensor, in another order and without
/// a bias on the keys.
fn layer(kind: Kind, i: usize) -> LayerSpec {
    let part = |start: usize, has_bias: bool| LinearPart {
        weight: format!("{i}.kvq.weight"),
        bias: has_bias.then(|| format!("{i}.kvq.bias")),
        tensor_rows: 3 * WIDTH,
        rows: start..start + WIDTH,
    };
    let attention = AttentionSpec {
        heads: HEADS,
        head_size: HEAD_SIZE,
        qkv: LinearSpec { parts: vec![part(2 * WIDTH, true), part(0, false), part(WIDTH, true)], inputs: HIDDEN },
        output: LinearSpec::module(&format!("{i}.output"), HIDDEN, WIDTH),
        rotary: matches!(kind, Kind::Rotary)
            .then(|| RotarySpec { frequencies: (0..HEAD_SIZE / 2).map(|j| 1.0 / (j + 1) as f32).collect() }),
        relative_keys: None,
        scale: if matches!(kind, Kind::Slopes) { 0.7 } else { 1.0 / (HEAD_SIZE as f32).sqrt() },
        window: kind.window(),
    };
    let is_gated = matches!(kind, Kind::Rotary);
    let outputs = if is_gated { INTERMEDIATE } else { INTERMEDIATE / 2 };
    let down = LinearPart { weight: format!("{i}.down.weight"), bias: None, tensor_rows: HIDDEN, rows: 0..HIDDEN };
    let feed_forward = FeedForwardSpec {
        up: LinearSpec::joined(&[&format!("{i}.up_a"), &format!("{i}.up_b")], outputs, HIDDEN),
        activation: Activation::Relu,
        is_gated,
        down: LinearSpec { parts: vec![down], inputs: INTERMEDIATE },
    };
    LayerSpec {
        attention: sublayer(kind, attention, &format!("{i}.attention"), i == 0),
        feed_forward: sublayer(kind, feed_forward, &format!("{i}.feed_forward"), false),
    }
}

fn spec(kind: Kind) -> EncoderSpec {
    EncoderSpec {
        family: Family::Bert,
        hidden_size: HIDDEN,
        max_tokens: POSITIONS,
        embeddings: EmbeddingsSpec {
            width: kind.embedding_width(),
            tokens: TableSpec::new("tokens", VOCABULARY),
            token_types: None,
            positions: PositionTableSpec::Learned(TableSpec::new("positions", POSITIONS)),
            position_ids: PositionIds::Sequential,
            norm: (!matches!(kind, Kind::Rotary)).then(|| norm(kind, "embedding_norm", true)),
            projection: matches!(kind, Kind::Rotary).then(|| LinearSpec::module("projection", HIDDEN, 12)),
        },
        relative_bias: matches!(kind, Kind::Slopes).then(|| RelativeBiasSpec::Slopes(SLOPES.to_vec())),
        layers: (0..2).map(|i| layer(kind, i)).collect(),
        layer_order: if matches!(kind, Kind::Slopes) { vec![0, 1, 0] } else { vec![0, 1] },
        final_norm: (!kind.is_post_norm()).then(|| norm(kind, "final_norm", true)),
        prefixes: &[],
    }
}

/// Tensors with pseudo-random elements, by name.
#[derive(Default)]
struct Weights(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl Weights {
    fn add(&mut self, name: &str, shape: &[usize]) {
        let mut state = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let scale = if shape.len() == 1 { 0.5 } else { 1.0 / (shape[1] as f32).sqrt() };
        let offset = if name.ends_with("norm.weight") { 1.0 } else { 0.0 };
        let element = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            offset + scale * ((state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0)
        };
        let elements = (0..shape.iter().product()).map(element).collect();
        self.0.insert(name.to_owned(), (shape.to_vec(), elements));
    }

    /// Makes all tensors that a spec requests.
    fn of(spec: &EncoderSpec) -> Self {
        let mut weights = Self::default();
        weights.add("tokens", &[VOCABULARY, spec.embeddings.width]);
        weights.add("positions", &[POSITIONS, spec.embeddings.width]);
        for (norm, width) in spec.norms() {
            weights.add(&norm.weight, &[width]);
            norm.bias.iter().for_each(|bias| weights.add(bias, &[width]));
        }
        for linear in spec.linears() {
            for part in &linear.parts {
                weights.add(&part.weight, &[part.tensor_rows, linear.inputs]);
                part.bias.iter().for_each(|bias| weights.add(bias, &[part.tensor_rows]));
            }
        }
        weights
    }

    fn get(&self, name: &str) -> Vec<f64> {
        self.0[name].1.iter().map(|&x| f64::from(x)).collect()
    }

    fn checkpoint(&self) -> Checkpoint {
        let bytes = |elements: &[f32]| elements.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let tensors: Vec<_> = self.0.iter().map(|(name, (shape, x))| (name.clone(), shape.clone(), bytes(x))).collect();
        let views = tensors.iter().map(|(name, shape, bytes)| {
            (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor"))
        });
        Checkpoint::from_bytes(safetensors::serialize(views, None).expect("safetensors")).expect("a checkpoint")
    }
}

type Rows = Vec<Vec<f64>>;

/// The network in f64, written from the formulas.
struct Truth<'a>(&'a Weights);

impl Truth<'_> {
    fn norm(&self, spec: &NormSpec, x: &Rows) -> Rows {
        let weight = self.0.get(&spec.weight);
        let bias = spec.bias.as_ref().map_or(vec![0.0; HIDDEN], |bias| self.0.get(bias));
        let row = |x: &Vec<f64>| {
            let mean = if spec.kind == NormKind::RmsNorm { 0.0 } else { x.iter().sum::<f64>() / HIDDEN as f64 };
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / HIDDEN as f64;
            let deviation = (variance + f64::from(spec.epsilon)).sqrt();
            (0..HIDDEN).map(|i| (x[i] - mean) / deviation * weight[i] + bias[i]).collect()
        };
        x.iter().map(row).collect()
    }

    fn linear(&self, spec: &LinearSpec, x: &Rows) -> Rows {
        let mut y = vec![Vec::new(); x.len()];
        for part in &spec.parts {
            let weight = self.0.get(&part.weight);
            let bias = part.bias.as_ref().map(|bias| self.0.get(bias));
            for (x, y) in x.iter().zip(&mut y) {
                y.extend(part.rows.clone().map(|row| {
                    let weights = &weight[row * spec.inputs..][..spec.inputs];
                    let product: f64 = weights.iter().zip(x).map(|(w, x)| w * x).sum();
                    product + bias.as_ref().map_or(0.0, |bias| bias[row])
                }));
            }
        }
        y
    }

    fn attention(&self, spec: &AttentionSpec, bias: Option<&RelativeBiasSpec>, x: &Rows) -> Rows {
        let mut qkv = self.linear(&spec.qkv, x);
        if let Some(rotary) = &spec.rotary {
            for (position, row) in qkv.iter_mut().enumerate() {
                row[..2 * WIDTH].chunks_mut(HEAD_SIZE).for_each(|head| rotate(head, position, &rotary.frequencies));
            }
        }
        let mut context = vec![vec![0.0; WIDTH]; x.len()];
        for head in 0..HEADS {
            let part = |i: usize, part: usize| &qkv[i][part * WIDTH + head * HEAD_SIZE..][..HEAD_SIZE];
            for (i, context) in context.iter_mut().enumerate() {
                let score = |j: usize| {
                    let product: f64 = part(i, 0).iter().zip(part(j, 1)).map(|(q, k)| q * k).sum();
                    let bias = match bias {
                        Some(RelativeBiasSpec::Slopes(slopes)) => -f64::from(slopes[head]) * i.abs_diff(j) as f64,
                        _ => 0.0,
                    };
                    let is_visible =
                        j + spec.window.before.min(IDS.len()) >= i && j <= i.saturating_add(spec.window.after);
                    if is_visible { (product * f64::from(spec.scale) + bias).exp() } else { 0.0 }
                };
                let weights: Vec<f64> = (0..x.len()).map(score).collect();
                let sum: f64 = weights.iter().sum();
                for (j, weight) in weights.iter().enumerate() {
                    for (c, value) in context[head * HEAD_SIZE..].iter_mut().zip(part(j, 2)) {
                        *c += weight / sum * value;
                    }
                }
            }
        }
        self.linear(&spec.output, &context)
    }

    fn feed_forward(&self, spec: &FeedForwardSpec, x: &Rows) -> Rows {
        let mut inside = self.linear(&spec.up, x);
        for row in &mut inside {
            let values = if spec.is_gated { row.split_off(INTERMEDIATE) } else { vec![1.0; INTERMEDIATE] };
            row.iter_mut().zip(values).for_each(|(x, value)| *x = x.max(0.0) * value);
        }
        self.linear(&spec.down, &inside)
    }

    fn join<F>(&self, spec: &SublayerSpec<F>, x: &Rows, f: impl Fn(&Rows) -> Rows) -> Rows {
        let output = f(&spec.input_norm.as_ref().map_or_else(|| x.clone(), |norm| self.norm(norm, x)));
        match &spec.join {
            JoinSpec::AddThenNorm(norm) => self.norm(norm, &add(x, &output)),
            JoinSpec::Add => add(x, &output),
            JoinSpec::NormThenAdd(norm) => add(x, &self.norm(norm, &output)),
        }
    }

    fn encode(&self, spec: &EncoderSpec) -> Rows {
        let [tokens, positions] = ["tokens", "positions"].map(|name| self.0.get(name));
        let width = spec.embeddings.width;
        let embedding = |(i, &id): (usize, &u32)| -> Vec<f64> {
            (0..width).map(|d| tokens[id as usize * width + d] + positions[i * width + d]).collect()
        };
        let mut x: Rows = IDS.iter().enumerate().map(embedding).collect();
        if let Some(norm) = &spec.embeddings.norm {
            x = self.norm(norm, &x);
        }
        if let Some(projection) = &spec.embeddings.projection {
            x = self.linear(projection, &x);
        }
        for &layer in &spec.layer_order {
            let layer = &spec.layers[layer];
            let bias = spec.relative_bias.as_ref();
            x = self.join(&layer.attention, &x, |x| self.attention(&layer.attention.body, bias, x));
            x = self.join(&layer.feed_forward, &x, |x| self.feed_forward(&layer.feed_forward.body, x));
        }
        spec.final_norm.as_ref().map_or(x.clone(), |norm| self.norm(norm, &x))
    }
}

/// Rotates pairs of elements that are half a head apart.
fn rotate(head: &mut [f64], position: usize, frequencies: &[f32]) {
    for (j, frequency) in frequencies.iter().enumerate() {
        let (sin, cos) = (position as f64 * f64::from(*frequency)).sin_cos();
        let (a, b) = (head[j], head[j + HEAD_SIZE / 2]);
        head[j] = a * cos - b * sin;
        head[j + HEAD_SIZE / 2] = b * cos + a * sin;
    }
}

fn add(x: &Rows, y: &Rows) -> Rows {
    x.iter().zip(y).map(|(x, y)| x.iter().zip(y).map(|(x, y)| x + y).collect()).collect()
}

fn encode(
    spec: &EncoderSpec,
    weights: &Weights,
    compute: ComputeConfig,
    threads: usize,
    selected: Option<&[usize]>,
) -> Vec<Vec<f32>> {
    let pool = Pool::new(threads).expect("threads");
    let loaded = Encoder::load(&weights.checkpoint(), spec.clone(), compute, &pool).expect("an encoder");
    let batch = Batch::new([(&IDS[..], &[][..])], spec.embeddings.position_ids);
    let mut buffers = PassBuffers::new(spec, compute.precision);
    buffers.resize(batch.tokens(), selected.map_or(0, <[usize]>::len));
    let output = pool.team(&mut buffers, |member, buffers| {
        loaded.encoder.forward(member, &batch, buffers, selected, &mut NullObserver)
    });
    TeamMember::solo(&mut buffers, |member, buffers| {
        buffers.read_output(member, output, |rows| (0..rows.rows()).map(|i| rows.row(i).to_vec()).collect())
    })
}

#[test]
fn encoder_of_every_join_equals_its_formulas() {
    for kind in [Kind::Post, Kind::Pre, Kind::Sandwich, Kind::PreWithoutFirst, Kind::Rotary, Kind::Slopes] {
        let spec = spec(kind);
        let weights = Weights::of(&spec);
        let truth = Truth(&weights).encode(&spec);
        for level in Level::available() {
            for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::Bf16, 0.1), (Precision::Int8, 0.3)] {
                let compute = ComputeConfig { level, precision };
                let vectors = encode(&spec, &weights, compute, 1, None);
                let pairs = vectors.iter().flatten().zip(truth.iter().flatten());
                let difference = pairs.map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max);
                assert!(difference < tolerance, "{kind:?} {level} {}: {difference}", precision.name());
                assert_eq!(vectors, encode(&spec, &weights, compute, 3, None), "{kind:?} {level}: three threads");
                // The last layer for one token alone gives its bits.
                for token in [0, 3, IDS.len() - 1] {
                    let one = encode(&spec, &weights, compute, 1 + token % 2, Some(&[token]));
                    assert_eq!(one, vectors[token..=token], "{kind:?} {level}: token {token}");
                }
            }
        }
    }
}

#[test]
fn parameters_of_a_spec_are_those_of_its_tensors() {
    for kind in [Kind::Post, Kind::Pre, Kind::Sandwich, Kind::Rotary, Kind::Slopes] {
        let spec = spec(kind);
        let elements: usize = Weights::of(&spec).0.values().map(|(_, elements)| elements.len()).sum();
        // The spec uses two thirds of the fused bias.
        assert_eq!(spec.parameters(), elements - 2 * WIDTH, "{kind:?}");
    }
}

#[test]
fn loader_with_a_missing_or_unknown_tensor_is_an_error() {
    let spec = spec(Kind::Pre);
    let pool = Pool::new(1).expect("threads");
    let compute = ComputeConfig { level: Level::PORTABLE, precision: Precision::F32 };
    let load = |weights: &Weights| Encoder::load(&weights.checkpoint(), spec.clone(), compute, &pool).map(|_| ());
    let mut weights = Weights::of(&spec);
    weights.add("1.down.bias", &[HIDDEN]);
    assert!(matches!(load(&weights), Err(Error::UnknownTensor { names, .. }) if names == ["1.down.bias"]));
    weights.0.remove("1.down.bias");
    weights.0.remove("final_norm.bias");
    assert!(matches!(load(&weights), Err(Error::MissingTensor { name, .. }) if name == "final_norm.bias"));
}

#[test]
fn workspace_for_post_norm_layers_has_one_stream_buffer() {
    let tokens = 5;
    let post = Workspace::bytes(&spec(Kind::Post), Precision::F32, tokens);
    let pre = Workspace::bytes(&spec(Kind::Pre), Precision::F32, tokens);
    let row = likewise_kernels::view::padded_stride(HIDDEN) * size_of::<f32>();
    assert_eq!(pre, post + 2 * tokens * row, "a second stream buffer, and one for normed inputs");
}

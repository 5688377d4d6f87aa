//! Expressions over tensors, as docs/tour.md writes them.
//!
//! ```text
//! sum     = product, then any of: + product, - product
//! product = value, then any of: * value, / value
//! value   = number | ( sum ) | function ( sum , … ) | tensor name, each followed by any indices
//! index   = [4] | [0..3] | [..]
//! ```

use std::collections::HashMap;

use likewise_kernels::reference::normal_cdf;

pub(super) type Tensors = HashMap<String, Array>;

/// A tensor, or a number, which has the shape [].
#[derive(Clone, Debug)]
pub(super) struct Array {
    pub(super) shape: Vec<usize>,
    pub(super) elements: Vec<f64>,
}

impl Array {
    pub(super) fn new(shape: &[usize], elements: Vec<f64>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), elements.len(), "elements of an array");
        Self { shape: shape.to_vec(), elements }
    }

    fn number(x: f64) -> Self {
        Self { shape: Vec::new(), elements: vec![x] }
    }

    /// Applies f to each element.
    fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self { elements: self.elements.into_iter().map(f).collect(), ..self }
    }

    /// Applies f to each pair of elements. A number pairs with all elements.
    fn zip(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        if self.shape.is_empty() {
            return other.map(|x| f(self.elements[0], x));
        }
        if other.shape.is_empty() {
            return self.map(|x| f(x, other.elements[0]));
        }
        assert_eq!(self.shape, other.shape, "the shapes of two arrays");
        let elements = self.elements.iter().zip(&other.elements).map(|(&a, &b)| f(a, b)).collect();
        Self { shape: self.shape, elements }
    }

    /// Takes a range of the axis `axis`.
    fn slice(self, axis: usize, start: usize, end: usize) -> Self {
        let inner: usize = self.shape[axis + 1..].iter().product();
        let block = self.shape[axis] * inner;
        let blocks = self.elements.chunks_exact(block);
        let elements = blocks.flat_map(|block| &block[start * inner..end * inner]).copied().collect();
        let mut shape = self.shape;
        shape[axis] = end - start;
        Self { shape, elements }
    }

    fn sum(&self) -> f64 {
        self.elements.iter().sum()
    }

    fn mean(&self) -> f64 {
        self.sum() / self.elements.len() as f64
    }
}

/// Evaluates an expression. A name is looked up in the first of the maps that has it.
pub(super) fn evaluate(expression: &str, tensors: &[&Tensors]) -> Array {
    let mut parser = Parser { expression, rest: expression, tensors };
    let value = parser.sum();
    assert!(parser.rest.is_empty(), "{expression}: expected its end at `{}`", parser.rest);
    value
}

struct Parser<'a> {
    expression: &'a str,
    rest: &'a str,
    tensors: &'a [&'a Tensors],
}

impl<'a> Parser<'a> {
    /// Takes a token that is expected next, if it is there.
    fn take(&mut self, token: &str) -> bool {
        let Some(rest) = self.rest.trim_start().strip_prefix(token) else { return false };
        self.rest = rest.trim_start();
        true
    }

    fn require(&mut self, token: &str) {
        assert!(self.take(token), "{}: expected `{token}` at `{}`", self.expression, self.rest);
    }

    /// Takes the characters of a name or a number.
    fn take_while(&mut self, is_part: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn sum(&mut self) -> Array {
        let mut value = self.product();
        loop {
            if self.take("+") {
                value = value.zip(self.product(), |a, b| a + b);
            } else if self.take("-") {
                value = value.zip(self.product(), |a, b| a - b);
            } else {
                return value;
            }
        }
    }

    fn product(&mut self) -> Array {
        let mut value = self.value();
        loop {
            if self.take("*") {
                value = value.zip(self.value(), |a, b| a * b);
            } else if self.take("/") {
                value = value.zip(self.value(), |a, b| a / b);
            } else {
                return value;
            }
        }
    }

    fn value(&mut self) -> Array {
        let value = if self.take("(") {
            let inner = self.sum();
            self.require(")");
            inner
        } else if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            // A number such as 1e-12.
            let mantissa = self.take_while(|c| c.is_ascii_digit() || c == '.');
            let exponent =
                if self.rest.starts_with('e') { self.take_while(|c| "e-0123456789".contains(c)) } else { "" };
            let number = format!("{mantissa}{exponent}");
            Array::number(number.parse().unwrap_or_else(|_| panic!("{}: {number} is no number", self.expression)))
        } else {
            let name = self.take_while(|c| c.is_ascii_alphanumeric() || "._".contains(c));
            if self.take("(") { self.call(name) } else { self.tensor(name) }
        };
        self.indexed(value)
    }

    fn tensor(&self, name: &str) -> Array {
        let found = self.tensors.iter().find_map(|tensors| tensors.get(name));
        found.unwrap_or_else(|| panic!("{}: no tensor `{name}`", self.expression)).clone()
    }

    /// Takes the arguments of a function, and computes it.
    fn call(&mut self, name: &str) -> Array {
        let x = self.sum();
        let value = match name {
            "dot" => {
                self.require(",");
                Array::number(x.zip(self.sum(), |a, b| a * b).sum())
            }
            "sum" => Array::number(x.sum()),
            "mean" => Array::number(x.mean()),
            "variance" => {
                let mean = x.mean();
                Array::number(x.map(|x| (x - mean).powi(2)).mean())
            }
            "norm" => Array::number(x.map(|x| x * x).sum().sqrt()),
            "max" => Array::number(x.elements.into_iter().fold(f64::NEG_INFINITY, f64::max)),
            "sqrt" => x.map(f64::sqrt),
            "exp" => x.map(f64::exp),
            "gelu" => x.map(|x| x * normal_cdf(x)),
            other => panic!("{}: no function `{other}`", self.expression),
        };
        self.require(")");
        value
    }

    /// Takes the indices after a value. An index removes its axis, and a range keeps it.
    fn indexed(&mut self, mut value: Array) -> Array {
        let mut axis = 0;
        while self.rest.starts_with('[') {
            self.require("[");
            let first = self.take_while(|c| c.is_ascii_digit());
            let is_range = self.take("..");
            let last = if is_range { self.take_while(|c| c.is_ascii_digit()) } else { "" };
            self.require("]");
            let index = |digits: &str, otherwise: usize| digits.parse().unwrap_or(otherwise);
            let start = index(first, 0);
            let end = if is_range { index(last, value.shape[axis]) } else { start + 1 };
            value = value.slice(axis, start, end);
            if is_range {
                axis += 1;
            } else {
                value.shape.remove(axis);
            }
        }
        value
    }
}

#[test]
fn expressions_follow_precedence_and_index_axes() {
    let tensors = Tensors::from([
        ("a.b".to_owned(), Array::new(&[2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
        ("v".to_owned(), Array::new(&[3], vec![1.0, 0.5, 0.25])),
    ]);
    for (expression, expected) in [
        ("1 + 2 * 3", &[7.0][..]),
        ("(1 + 2) * 3 / 2", &[4.5]),
        ("a.b[1][0..2] - a.b[0][1..3]", &[2.0, 2.0]),
        ("a.b[..][2]", &[3.0, 6.0]),
        ("dot(a.b[1], v) + 1e-1", &[8.1]),
        ("(a.b[0] - mean(a.b[0]))[0..2] / sqrt(4)", &[-0.5, 0.0]),
        ("variance(a.b[0]) * 3", &[2.0]),
        ("max(a.b)", &[6.0]),
        ("norm(a.b[0][0..2] * 2)", &[20.0_f64.sqrt()]),
        ("gelu(1)", &[0.841_344_746_068_542_9]),
    ] {
        let found = evaluate(expression, &[&tensors]).elements;
        let is_equal = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(is_equal, "{expression}: expected {expected:?}, found {found:?}");
    }
}

//! The families of encoders, as far as they determine the tokenizer.

/// A family of encoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Bert,
    DistilBert,
    Mpnet,
    Roberta,
    Camembert,
    XlmRoberta,
}

impl Family {
    /// Returns the family of a blueprint.
    pub(crate) fn from_name(name: &str) -> Self {
        match name {
            "DistilBERT" => Self::DistilBert,
            "MPNet" => Self::Mpnet,
            "RoBERTa" => Self::Roberta,
            "CamemBERT" => Self::Camembert,
            "XLM-RoBERTa" => Self::XlmRoberta,
            _ => Self::Bert,
        }
    }
}

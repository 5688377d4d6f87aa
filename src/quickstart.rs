//! A small model inside the program, so that a first try needs no download.

use crate::files::ModelFiles;

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        // A static, because the bytes of a constant would be repeated at each use.
        static FILES: &[(&str, &[u8])] =
            &[$(($name, include_bytes!(concat!("../fixtures/models/quickstart/", $name)))),+];
    };
}

files![
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "1_Pooling/config.json",
];

impl ModelFiles {
    /// Returns the model inside the program: an MPNet with 3 layers of width 384, for short texts
    /// in English.
    ///
    /// It is for first steps and for tests. Its scores follow human judgement less closely than
    /// those of a full model such as all-mpnet-base-v2; its card,
    /// `fixtures/models/quickstart/README.md`, has the figures. No table is copied: the embedder
    /// uses the bytes in the program.
    ///
    /// ```
    /// # fn main() -> likewise::Result<()> {
    /// let model = likewise::Embedder::builder().open_files(&likewise::ModelFiles::quickstart())?;
    /// let sentences = ["That is a happy dog", "Today is a sunny day"];
    /// let scores = model.similarity("That is a happy person", &sentences)?;
    /// assert!(scores[0] > scores[1]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn quickstart() -> Self {
        FILES.iter().fold(Self::in_memory().named("quickstart"), |files, &(name, bytes)| files.with(name, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;

    #[test]
    fn quickstart_tables_are_not_copied() {
        let &(_, weights) = FILES.iter().find(|(name, _)| *name == "model.safetensors").expect("weights");
        let checkpoint = Checkpoint::open(&ModelFiles::quickstart()).expect("a checkpoint");
        let tensors = checkpoint.tensors();
        assert!(tensors.len() > 40, "{}", tensors.len());
        for (name, shape) in tensors {
            let bytes = checkpoint.tensor(name, shape).expect("a tensor").as_bytes().as_ptr_range();
            let all = weights.as_ptr_range();
            assert!(all.start <= bytes.start && bytes.end <= all.end, "{name} was copied");
        }
    }
}

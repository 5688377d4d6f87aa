//! The errors of sparse encoders.

/// A text, or a setting, does not suit a sparse encoder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SparseEncoderError {
    /// A setting applies to vectors without zeros only.
    #[error("setting `{setting}`: expected none for a sparse encoder; max_active_dims shortens its vectors")]
    Setting {
        /// The name of the setting.
        setting: &'static str,
    },

    /// The model's router has no modules for such texts.
    #[error("{file}: no route for {task}: expected one of its routes {}, or a default route", routes.join(", "))]
    NoRoute {
        /// The file of the router.
        file: String,
        /// The texts that have no route: "texts without a task", "queries" or "documents".
        task: &'static str,
        /// The names of the routes.
        routes: Vec<String>,
    },
}

impl SparseEncoderError {
    /// Shortens the path of the file that the error names, if there is one.
    #[cfg(feature = "serve")]
    pub(super) fn shorten_file(&mut self, short: impl Fn(&str) -> String) {
        if let Self::NoRoute { file, .. } = self {
            *file = short(file);
        }
    }
}

//! The settings of a server.

use std::time::Duration;

use axum::http::HeaderValue;

use crate::backbone::TARGET_TOKENS_PER_BATCH;

/// The settings of a server.
#[derive(Clone)]
#[non_exhaustive]
pub struct Settings {
    /// Limits on requests and responses.
    pub limits: Limits,
    /// The API keys, one of which a request must have. Empty: no key is required.
    pub api_keys: Vec<String>,
    /// The origins whose pages may call the API from a browser.
    pub origins: AllowedOrigins,
    /// The capacity of the response cache in bytes, requests included; 0 disables the cache.
    pub response_cache_bytes: usize,
    /// The names of models that requests may use in addition to the models' own.
    pub names: ModelNames,
    /// Whether `/v1/embeddings` accepts token ids. OpenAI's clients send those of OpenAI's
    /// tokenizers, which mean other tokens to another model.
    pub openai_token_ids: bool,
}

/// The names of models that requests may use in addition to the models' own.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ModelNames {
    /// Pairs of an alias and the name of its model.
    pub aliases: Vec<(String, String)>,
    /// Whether any other name means the first model.
    pub allow_any: bool,
}

impl ModelNames {
    /// Checks the aliases of a server that has models with these names.
    ///
    /// # Errors
    /// If an alias is empty, is not unique, or names no model.
    pub fn check(&self, models: &[&str]) -> std::io::Result<()> {
        let error = |text: String| Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, text));
        for (i, (alias, model)) in self.aliases.iter().enumerate() {
            if alias.is_empty() {
                return error(format!("alias of {model:?}: expected a name, found an empty string"));
            }
            if models.contains(&alias.as_str()) || self.aliases[..i].iter().any(|(other, _)| other == alias) {
                return error(format!("alias {alias:?}: another model or alias has this name"));
            }
            if !models.contains(&model.as_str()) {
                return error(format!("alias {alias:?}: expected one of {}, found {model:?}", models.join(", ")));
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Settings {
    /// Shows the number of API keys and not the keys, because debug output ends up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("limits", &self.limits)
            .field("api_keys", &format_args!("{} keys", self.api_keys.len()))
            .field("origins", &self.origins)
            .field("response_cache_bytes", &self.response_cache_bytes)
            .field("names", &self.names)
            .field("openai_token_ids", &self.openai_token_ids)
            .finish()
    }
}

/// Limits on requests and responses.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a request's body.
    pub max_body_bytes: usize,
    /// Texts of a request, including the source.
    pub max_client_batch_size: usize,
    /// Characters, once normalized, of a part of a text that can only be tokenized whole, because
    /// the tokenizer has no boundary in it; also token ids of a list to be decoded. Parts of at
    /// most 4 KiB are always accepted.
    pub max_unsplit_characters: usize,
    /// Floats of a response.
    pub max_response_floats: usize,
    /// Tokens in a model's queue.
    pub max_queued_tokens: usize,
    /// Tokens of a batch. A text with more tokens is computed alone.
    pub max_batch_tokens: usize,
    /// Requests in flight.
    pub max_concurrent_requests: usize,
    /// Time between two requests of a connection, and before its first one. It must be longer than
    /// the time for which a reverse proxy keeps idle connections, otherwise the proxy may send a
    /// request on a connection that is closing.
    pub idle_timeout: Duration,
    /// Time for a request's head to arrive, from its first byte on.
    pub header_timeout: Duration,
    /// Time for a request's body to arrive, and for a client to read more of a response.
    pub body_timeout: Duration,
    /// Time to answer a request, including its body and the wait for a model.
    pub request_timeout: Duration,
}

/// The origins whose pages may call the API from a browser.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AllowedOrigins {
    /// Only the server's own page.
    None,
    /// Every page.
    Any,
    /// Pages from these origins, each as a browser writes it: `https://example.org`.
    List(Vec<HeaderValue>),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            api_keys: Vec::new(),
            origins: AllowedOrigins::None,
            response_cache_bytes: 64 << 20,
            names: ModelNames::default(),
            openai_token_ids: false,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 2_000_000,
            max_client_batch_size: 10_000,
            max_unsplit_characters: 30_000,
            max_response_floats: 8_000_000,
            max_queued_tokens: 200_000,
            max_batch_tokens: TARGET_TOKENS_PER_BATCH,
            max_concurrent_requests: 512,
            // Longer than AWS' load balancers, nginx (60 s), Traefik (90 s) and Caddy (120 s) keep
            // idle connections; shorter than address translation forgets them (Azure: 240 s, AWS:
            // 350 s).
            idle_timeout: Duration::from_secs(180),
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(120),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_of_settings_hides_api_keys() {
        let settings = Settings { api_keys: vec!["a-secret".to_owned()], ..Settings::default() };
        let text = format!("{settings:?}");
        assert!(text.contains("1 keys") && !text.contains("a-secret"), "{text}");
    }
}

//! The tokens with a role, such as the one at the end of a text.

use super::special_tokens::ListedToken;
use crate::error::Result;

/// The roles that models ask for.
const ROLES: [&str; 5] = ["cls_token", "eos_token", "pad_token", "unk_token", "mask_token"];

/// The tokens with a role, as the files and the class of a tokenizer define them.
#[derive(Clone, Debug, Default)]
pub(super) struct TokensByRole {
    tokens: Vec<(&'static str, String)>,
}

impl TokensByRole {
    /// Reads all roles.
    pub(super) fn read(token: impl Fn(&'static str) -> Result<Option<ListedToken>>) -> Result<Self> {
        let mut tokens = Vec::new();
        for role in ROLES {
            tokens.extend(token(role)?.map(|token| (role, token.content)));
        }
        Ok(Self { tokens })
    }

    /// Returns the token with a role.
    pub(super) fn get(&self, role: &str) -> Option<&str> {
        self.tokens.iter().find(|(other, _)| *other == role).map(|(_, token)| token.as_str())
    }
}

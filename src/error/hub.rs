//! The kinds of hub errors.

/// The reason for which the Hugging Face hub rejected a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HubErrorKind {
    /// The repository does not exist, or it is private. The hub does not distinguish the two.
    RepositoryNotFound,
    /// The repository has no such branch, tag or commit.
    RevisionNotFound,
    /// The revision has no such file.
    FileNotFound,
    /// The repository is gated: its authors grant access on request.
    Gated,
    /// The token is not valid.
    InvalidToken,
    /// The token does not grant access, or access is disabled for everyone.
    Forbidden,
    /// Too many requests, or a failure of the hub. The request was retried before this error.
    Unavailable,
    /// A status that the protocol does not define.
    UnexpectedStatus,
}

impl std::fmt::Display for HubErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::RepositoryNotFound => "no such repository, or a private one that needs a token",
            Self::RevisionNotFound => "the repository has no such branch, tag or commit",
            Self::FileNotFound => "no such file in this revision",
            Self::Gated => "gated: request access on the repository's page, then set HF_TOKEN",
            Self::InvalidToken => "the token is not valid",
            Self::Forbidden => "access denied",
            Self::Unavailable => "the hub is temporarily unavailable",
            Self::UnexpectedStatus => "unexpected response",
        })
    }
}

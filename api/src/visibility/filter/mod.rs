//! The list filter: Temporal's, a dialect of SQL's WHERE clause.
//!
//! Own lexer ([`lexer`]) and parser ([`parser`]) rather than a crate's: the dialect has `STARTS_WITH`, quotes texts either way, and
//! clients know its refusals with their positions, which no SQL parser for another dialect gives. [`expression`] is the tree,
//! [`super::sql`] what the store is asked.

pub mod expression;
mod lexer;
mod parser;

pub use parser::parse;

/// Why a filter is refused. The caller's mistake: INVALID_ARGUMENT.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Not the grammar.
    #[error("invalid query: malformed SQL query: syntax error at position {position}{}", at_word(.near))]
    Syntax {
        /// Behind the word that should not be there, as Temporal counts.
        position: usize,
        /// That word.
        near: String,
    },
    #[error("invalid query: invalid search attribute: {0}")]
    UnknownAttribute(String),
    #[error("invalid query: invalid expression: {0}")]
    Expression(String),
    #[error("invalid query: operation is not supported: {0}")]
    Unsupported(String),
}

fn at_word(word: &str) -> String {
    if word.is_empty() {
        String::new()
    } else {
        format!(" near '{word}'")
    }
}

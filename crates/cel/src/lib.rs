//! The Common Expression Language as an apiserver compiles it: parser, declarations, type checker.
//!
//! Entry points: [`Env`] (which variables, types and functions expressions may use) and [`compile`], which tells the type
//! of an expression or everything that is wrong with it, in cel-go's words and places.
//!
//! Functions stand in tables of signatures, one file for each library (`libraries/`); a line reads like
//! `string.startsWith(string) bool`.
//!
//! Invariant: this crate never evaluates side effects: it knows no admission, no HTTP and no object of a cluster.

mod ast;
mod check;
mod env;
mod error;
mod lexer;
mod libraries;
mod macros;
mod parser;
mod signature;
mod types;
mod validators;

pub use env::Env;
pub use error::Issues;
pub use parser::is_identifier;
pub use types::Type;

/// The type that an expression evaluates to, or what is wrong with it.
pub fn compile(env: &Env, source: &str) -> Result<Type, Issues> {
    let expression = parser::parse(source)?;
    check::check(env, source, &expression)
}

/// The longest expression that is read, in code points (rule: cel-go's `ExpressionSizeCodePointLimit`).
pub const LONGEST: usize = 100_000;

//! The trait of a provider function: pure, offline, evaluated wherever an expression stands.

use thiserror::Error;

use crate::{Type, Value};

/// One parameter of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in documentation and messages.
    pub name: String,
    /// The type Terraform converts arguments to.
    pub of: Type,
    /// What it is for.
    pub description: String,
    /// Whether the function is called with null; otherwise Terraform refuses null itself.
    pub allow_null: bool,
    /// Whether the function is called with unknowns; otherwise Terraform takes the result as unknown.
    pub allow_unknown: bool,
}

impl Parameter {
    /// A parameter that takes neither null nor unknown.
    pub fn new(name: impl Into<String>, of: Type) -> Self {
        Self { name: name.into(), of, description: String::new(), allow_null: false, allow_unknown: false }
    }

    /// Sets the description.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    /// Lets null in.
    #[must_use]
    pub fn allow_null(mut self) -> Self {
        self.allow_null = true;
        self
    }

    /// Lets unknown values in.
    #[must_use]
    pub fn allow_unknown(mut self) -> Self {
        self.allow_unknown = true;
        self
    }
}

/// What a function takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// In order.
    pub parameters: Vec<Parameter>,
    /// Takes all further arguments; `None` when there are none.
    pub variadic: Option<Parameter>,
    /// Type of the result.
    pub returns: Type,
    /// One line.
    pub summary: String,
    /// Markdown.
    pub description: String,
    /// Why not to use it any more; `None` while it is fine.
    pub deprecated: Option<String>,
}

impl Signature {
    /// A function of no parameters.
    pub fn new(returns: Type, summary: impl Into<String>) -> Self {
        Self {
            parameters: Vec::new(),
            variadic: None,
            returns,
            summary: summary.into(),
            description: String::new(),
            deprecated: None,
        }
    }

    /// Adds a parameter at the end.
    #[must_use]
    pub fn parameter(mut self, parameter: Parameter) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// Sets what takes all further arguments.
    #[must_use]
    pub fn variadic(mut self, parameter: Parameter) -> Self {
        self.variadic = Some(parameter);
        self
    }

    /// Sets the description.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }
}

/// Why a function gave no result. Terraform shows the text at the argument, where one is named.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct FunctionError {
    /// For the person who wrote the expression.
    pub text: String,
    /// Position of the argument it is about, from 0; `None` for the call as a whole.
    pub argument: Option<usize>,
}

impl FunctionError {
    /// About the call as a whole.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), argument: None }
    }

    /// About the argument at `position`, from 0.
    pub fn argument(position: usize, text: impl Into<String>) -> Self {
        Self { text: text.into(), argument: Some(position) }
    }
}

/// One function, called as `provider::<provider>::<name>(...)`.
pub trait Function: Send + Sync {
    /// Its name without any prefix.
    fn name(&self) -> &str;

    /// What it takes and gives.
    fn signature(&self) -> Signature;

    /// Evaluates it. Same arguments, same result; nothing outside is touched. `arguments` are of the
    /// parameters' types, variadic ones at the end.
    ///
    /// # Errors
    /// When the arguments have no result.
    fn call(&self, arguments: &[Value]) -> Result<Value, FunctionError>;
}

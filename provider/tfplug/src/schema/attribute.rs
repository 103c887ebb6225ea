//! One attribute of a block or nested object, and the builder for it.

use std::collections::BTreeMap;
use std::fmt;

use crate::plan::complete;
use crate::value::{Type, Value};

/// Says whether two known values mean the same, e.g. `"16GB"` and `"16384MB"`.
pub type Equivalent = fn(&Value, &Value) -> bool;

/// How nested objects are collected. They are always known by position, key or content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Nesting {
    /// One object.
    Single,
    /// A list of objects.
    List,
    /// A set of objects.
    Set,
    /// A map of objects.
    Map,
}

/// What values an attribute takes.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Values of a type.
    Plain(Type),
    /// Objects with attributes of their own.
    Nested {
        /// How they are collected.
        nesting: Nesting,
        /// By name.
        attributes: BTreeMap<String, Attribute>,
    },
}

/// Who sets an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The configuration, always.
    Required,
    /// The configuration, or nobody.
    Optional,
    /// The provider.
    Computed,
    /// The configuration, or else the provider.
    OptionalComputed,
}

/// What is planned for a computed attribute that the configuration leaves out and that has a prior value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhenUnset {
    /// Unknown as soon as anything of the resource changes.
    Unknown,
    /// The prior value; unknown only where there is none.
    Prior,
}

/// One attribute. Optional unless said otherwise.
#[derive(Clone)]
pub struct Attribute {
    name: String,
    pub(super) kind: Kind,
    /// The builder's calls, in any order; [`Attribute::mode`] reads them.
    pub(super) required: bool,
    pub(super) optional: bool,
    pub(super) computed: bool,
    description: String,
    deprecated: Option<String>,
    sensitive: bool,
    pub(super) write_only: bool,
    pub(super) requires_replace: bool,
    pub(super) default: Option<Value>,
    pub(super) equivalent: Option<Equivalent>,
    when_unset: WhenUnset,
}

impl Attribute {
    /// One of any type.
    pub fn new(name: impl Into<String>, of: Type) -> Self {
        Self::with_kind(name.into(), Kind::Plain(of))
    }

    fn with_kind(name: String, kind: Kind) -> Self {
        Self {
            name,
            kind,
            required: false,
            optional: false,
            computed: false,
            description: String::new(),
            deprecated: None,
            sensitive: false,
            write_only: false,
            requires_replace: false,
            default: None,
            equivalent: None,
            when_unset: WhenUnset::Unknown,
        }
    }

    /// A string.
    pub fn string(name: impl Into<String>) -> Self {
        Self::new(name, Type::String)
    }

    /// A number.
    pub fn number(name: impl Into<String>) -> Self {
        Self::new(name, Type::Number)
    }

    /// A bool.
    pub fn bool(name: impl Into<String>) -> Self {
        Self::new(name, Type::Bool)
    }

    /// A list of `element`.
    pub fn list(name: impl Into<String>, element: Type) -> Self {
        Self::new(name, Type::list(element))
    }

    /// A set of `element`.
    pub fn set(name: impl Into<String>, element: Type) -> Self {
        Self::new(name, Type::set(element))
    }

    /// A map of `element`.
    pub fn map(name: impl Into<String>, element: Type) -> Self {
        Self::new(name, Type::map(element))
    }

    /// Nested objects, collected by `nesting`.
    pub fn nested(
        name: impl Into<String>,
        nesting: Nesting,
        attributes: impl IntoIterator<Item = Attribute>,
    ) -> Self {
        let attributes = attributes.into_iter().map(|one| (one.name.clone(), one)).collect();
        Self::with_kind(name.into(), Kind::Nested { nesting, attributes })
    }

    /// One nested object.
    pub fn object(name: impl Into<String>, attributes: impl IntoIterator<Item = Attribute>) -> Self {
        Self::nested(name, Nesting::Single, attributes)
    }

    /// A list of nested objects.
    pub fn list_of(name: impl Into<String>, attributes: impl IntoIterator<Item = Attribute>) -> Self {
        Self::nested(name, Nesting::List, attributes)
    }

    /// A set of nested objects.
    pub fn set_of(name: impl Into<String>, attributes: impl IntoIterator<Item = Attribute>) -> Self {
        Self::nested(name, Nesting::Set, attributes)
    }

    /// A map of nested objects.
    pub fn map_of(name: impl Into<String>, attributes: impl IntoIterator<Item = Attribute>) -> Self {
        Self::nested(name, Nesting::Map, attributes)
    }

    /// The configuration must set it.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The configuration may set it. With [`Attribute::computed`], in any order: else the provider does.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// The provider sets it. With [`Attribute::optional`], in any order: unless the configuration does.
    #[must_use]
    pub fn computed(mut self) -> Self {
        self.computed = true;
        self
    }

    /// Sets what it is for, in Markdown.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    /// Hides its value in all output. It still lies in state.
    #[must_use]
    pub fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    /// It is never stored: seen in the configuration at validate, plan and apply, null everywhere else.
    #[must_use]
    pub fn write_only(mut self) -> Self {
        self.write_only = true;
        self
    }

    /// It should not be used any more; `message` says what to use.
    #[must_use]
    pub fn deprecated(mut self, message: impl Into<String>) -> Self {
        self.deprecated = Some(message.into());
        self
    }

    /// A change of it makes a new object.
    #[must_use]
    pub fn requires_replace(mut self) -> Self {
        self.requires_replace = true;
        self
    }

    /// What it is when the configuration leaves it out. Makes it optional and computed.
    #[must_use]
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        // In its exact shape, because it is compared with what state holds; what does not fit stays as it
        // is for the schema check to refuse.
        let value = value.into();
        self.default = Some(complete(value.clone(), &self.implied_type()).unwrap_or(value));
        self.optional = true;
        self.computed = true;
        self
    }

    /// Keeps the prior value where `equivalent` says that the new one means the same: in plan against the
    /// configuration, after read and apply against what the provider returns.
    #[must_use]
    pub fn equivalent(mut self, equivalent: Equivalent) -> Self {
        self.equivalent = Some(equivalent);
        self
    }

    /// Computed and left out: unknown as soon as anything of the resource changes. This is the default.
    #[must_use]
    pub fn keep_unknown_until_apply(mut self) -> Self {
        self.when_unset = WhenUnset::Unknown;
        self
    }

    /// Computed and left out: the prior value stays planned, for what never changes once it is set.
    #[must_use]
    pub fn use_state_for_unknown(mut self) -> Self {
        self.when_unset = WhenUnset::Prior;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What values it takes.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Who sets it.
    pub fn mode(&self) -> Mode {
        match (self.required, self.optional, self.computed) {
            (true, ..) => Mode::Required,
            (false, true, true) => Mode::OptionalComputed,
            (false, false, true) => Mode::Computed,
            (false, _, false) => Mode::Optional,
        }
    }

    /// Whether the provider may set it.
    pub fn is_computed(&self) -> bool {
        matches!(self.mode(), Mode::Computed | Mode::OptionalComputed)
    }

    /// What it is for, in Markdown; may be empty.
    pub fn text(&self) -> &str {
        &self.description
    }

    /// What to use instead; `None` while it is fine.
    pub fn deprecation(&self) -> Option<&str> {
        self.deprecated.as_deref()
    }

    /// Whether its value is hidden in output.
    pub fn is_sensitive(&self) -> bool {
        self.sensitive
    }

    /// Whether it is never stored.
    pub fn is_write_only(&self) -> bool {
        self.write_only
    }

    /// Whether a change of it makes a new object.
    pub fn replaces(&self) -> bool {
        self.requires_replace
    }

    /// What it is when the configuration leaves it out; `None` without default.
    pub fn default_value(&self) -> Option<&Value> {
        self.default.as_ref()
    }

    /// What is planned when it is computed and left out.
    pub fn when_unset(&self) -> WhenUnset {
        self.when_unset
    }

    /// Whether two values are known, not null and mean the same by the attribute's own rule.
    pub fn means_the_same(&self, a: &Value, b: &Value) -> bool {
        let comparable = |value: &Value| !value.is_null() && value.is_wholly_known();
        self.equivalent.is_some_and(|rule| comparable(a) && comparable(b) && rule(a, b))
    }

    /// The type of its values.
    pub fn implied_type(&self) -> Type {
        match &self.kind {
            Kind::Plain(of) => of.clone(),
            Kind::Nested { nesting, attributes } => {
                let object = super::object_type(attributes);
                match nesting {
                    Nesting::Single => object,
                    Nesting::List => Type::list(object),
                    Nesting::Set => Type::set(object),
                    Nesting::Map => Type::map(object),
                }
            }
        }
    }
}

impl fmt::Debug for Attribute {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Attribute")
            .field("name", &self.name)
            .field("type", &self.implied_type().describe())
            .field("mode", &self.mode())
            .finish_non_exhaustive()
    }
}

//! What was found out of values and of types.

/// What a value is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Format {
    #[default]
    Unknown,
    /// The reader takes whatever there is.
    Any,
    Plain(&'static str),
    Option(Box<Format>),
    Seq(Box<Format>),
    Map(Box<Format>, Box<Format>),
    Tuple(Vec<Format>),
    /// By its place in the trace.
    Container(usize),
}

/// What a struct or a variant consists of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TypeFields {
    Unit,
    Newtype(Format),
    Tuple(Vec<Format>),
    Named(&'static [&'static str], Vec<Format>),
}

#[derive(Debug)]
pub(super) enum TypeContent {
    Struct(TypeFields),
    /// Variants that were not read yet have none.
    Enum(Vec<(&'static str, Option<TypeFields>)>),
}

#[derive(Debug)]
pub(super) struct Container {
    pub(super) name: &'static str,
    pub(super) content: TypeContent,
}

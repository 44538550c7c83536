//! The tree of an expression. Every node knows the offset of the character that cel-go would mark.

/// A node.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) at: usize,
    pub(crate) node: Node,
}

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Bytes,
    String(String),
    Ident(String),
    /// `operand.field`; `test` for `has()`, `optional` for `.?`.
    Select {
        operand: Box<Expr>,
        field: String,
        test: bool,
        optional: bool,
    },
    /// A call of a function, or of a method of `target`.
    Call {
        function: String,
        target: Option<Box<Expr>>,
        args: Vec<Expr>,
    },
    /// Elements, and whether they are optional.
    List(Vec<(Expr, bool)>),
    Map(Vec<(Expr, Expr, bool)>),
    /// `Name{field: value}`: the name, and each field with the place of its colon.
    Message {
        name: String,
        fields: Vec<(String, usize, Expr, bool)>,
    },
    Macro {
        kind: Macro,
        range: Box<Expr>,
        vars: Vec<(String, usize)>,
        args: Vec<Expr>,
    },
}

/// Loops and bindings that are no functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Macro {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
    /// `cel.bind(name, value, result)`: the range is the value.
    Bind,
    OptMap,
    OptFlatMap,
    TransformList,
    TransformMap,
    TransformMapEntry,
}

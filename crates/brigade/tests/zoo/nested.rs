//! Types within themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::family;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct List {
    before: u8,
    next: Option<Box<List>>,
    after: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tree {
    left: Vec<Tree>,
    name: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    right: BTreeMap<u8, Tree>,
    sum: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Expression {
    Number(f64),
    Add(Box<(Expression, Expression)>),
    Call {
        name: Arc<str>,
        arguments: Vec<Expression>,
        rest: Option<Arc<Expression>>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Odd {
    even: Option<Box<Even>>,
    odd: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Even {
    odd: Vec<Odd>,
    even: u8,
}

/// Begins as the outermost begins, and then has other fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "Same")]
pub(crate) struct Outer {
    first: Option<Box<Middle>>,
    last: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "Same")]
pub(crate) struct Middle {
    first: Option<Box<Outer>>,
    other: u8,
    last: u8,
}

fn list(levels: usize) -> List {
    (0..levels).fold(List::default(), |next, n| List {
        before: n as u8,
        next: Some(Box::new(next)),
        after: !n as u8,
    })
}

fn tree(levels: u8) -> Tree {
    let leaf = || tree(levels.saturating_sub(1));
    match levels {
        0 => Tree::default(),
        _ => Tree {
            left: vec![leaf(), leaf()],
            name: format!("at {levels}"),
            right: BTreeMap::from([(levels, leaf())]),
            sum: 1 << levels,
        },
    }
}

family! {
    List(List) "a list of boxes" [list(0), list(1), list(20), list(50)] => Equal;
    Tree(Tree) "a tree" [tree(0), tree(5)] => Equal;
    Expression(Expression) "an enum within itself" [Expression::Call {
        name: "f".into(),
        arguments: vec![Expression::Number(0.5), Expression::Add(Box::new((Expression::Number(1.0), Expression::Number(-1.0))))],
        rest: Some(Arc::new(Expression::Number(2.0))),
    }] => Equal;
    Mutual(Odd) "two types within each other" [Odd {
        even: Some(Box::new(Even { odd: vec![Odd { even: None, odd: 1 }, Odd { even: Some(Box::new(Even { odd: vec![], even: 2 })), odd: 3 }], even: 4 })),
        odd: 5,
    }] => Equal;
    Same(Outer) "two types of one name within each other" [Outer {
        first: Some(Box::new(Middle { first: Some(Box::new(Outer { first: None, last: 1 })), other: 2, last: 3 })),
        last: 4,
    }] => Equal;
}

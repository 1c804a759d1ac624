//! Options, units, and what JSON takes for the same.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::family;
use crate::structs::Unit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Newtype(Option<Option<()>>);

/// As `serde_with::rust::double_option` has it: left out, null, or a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Patch {
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "serde_with::rust::double_option"
    )]
    name: Option<Option<String>>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "serde_with::rust::unwrap_or_skip"
    )]
    size: Option<u8>,
    last: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Buffered {
    It(Inside),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Inside {
    deep: Option<Option<Option<u8>>>,
    unit: Option<()>,
    units: Vec<Option<()>>,
    null: Option<Value>,
    nothing: (),
}

fn inside() -> Vec<Inside> {
    let base = Inside {
        deep: None,
        unit: None,
        units: vec![None, Some(()), None],
        null: None,
        nothing: (),
    };
    vec![
        base.clone(),
        Inside {
            deep: Some(None),
            unit: Some(()),
            ..base.clone()
        },
        Inside {
            deep: Some(Some(None)),
            null: Some(Value::Null),
            ..base.clone()
        },
        Inside {
            deep: Some(Some(Some(5))),
            null: Some(Value::Bool(true)),
            ..base
        },
    ]
}

family! {
    Option(Option<u8>) "Option" [None, Some(5)] => Equal;
    Twice(Option<Option<u8>>) "Option<Option>" [None, Some(None), Some(Some(5))] => Equal;
    FourTimes(Option<Option<Option<Option<()>>>>) "Option, four times, of nothing" [None, Some(None), Some(Some(None)), Some(Some(Some(None))), Some(Some(Some(Some(()))))] => Equal;
    Unit(()) "()" [()] => Equal;
    OfUnit(Option<()>) "Option<()>" [None, Some(())] => Equal;
    OfUnitStruct(Option<Unit>) "Option of a unit struct" [None, Some(Unit)] => Equal;
    Newtype(Newtype) "newtype of options" [Newtype(None), Newtype(Some(None)), Newtype(Some(Some(())))] => Equal;
    InLists(Vec<Option<Vec<Option<()>>>>) "options in lists" [vec![None, Some(vec![]), Some(vec![None, Some(())])]] => Equal;
    Null(Option<Value>) "Option of a JSON value" [None, Some(Value::Null), Some(Value::from(1))] => Equal;
    Boxed(Option<Box<Option<Box<u8>>>>) "Option of boxes" [None, Some(Box::new(None)), Some(Box::new(Some(Box::new(1))))] => Equal;
    Patch(Patch) "left out, null, or a value" [
        Patch { name: None, size: None, last: 1 },
        Patch { name: Some(None), size: Some(2), last: 1 },
        Patch { name: Some(Some("name".into())), size: Some(2), last: 1 },
    ] => Equal;
    Results(Result<Option<()>, Option<Option<()>>>) "options in results" [Ok(None), Ok(Some(())), Err(None), Err(Some(None)), Err(Some(Some(())))] => Equal;
    Inside(Inside) "options of options in a struct" inside() => Equal;
    Buffered(Buffered) "the same in a buffer" inside().into_iter().map(Buffered::It) => Equal;
}

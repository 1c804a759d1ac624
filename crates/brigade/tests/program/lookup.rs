//! Names and types.

use brigade::process::LookupError;
use serde::{Deserialize, Serialize};

use crate::{Order, this_program};

#[test]
fn a_task_is_found_by_its_name_and_types() {
    let program = this_program();
    let add = program.task::<(u64, u64), u64>("add").expect("exported");
    assert_eq!((add.name(), add.program().path()), ("add", program.path()));
    program.task::<Order, Order>("echo").expect("exported");
    let names = program.tasks().expect("listed");
    assert!(names.iter().any(|name| name == "double"), "{names:?}");
}

#[test]
fn a_name_that_is_not_there_is_refused_with_those_that_are() {
    let error = this_program()
        .task::<u32, u32>("treble")
        .expect_err("no such task");
    let LookupError::NoSuchTask(no) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(no.name(), "treble");
    assert!(no.offered().iter().any(|name| name == "double"));
    let text = error.to_string();
    assert!(
        text.contains("`treble`") && text.contains("`double`"),
        "{text}"
    );
}

#[test]
fn other_types_are_refused_with_both_said() {
    let error = this_program()
        .task::<u64, u32>("double")
        .expect_err("other types");
    let LookupError::OtherTypes(other) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(
        (other.ours(), other.theirs()),
        ("fn(u64) -> u32", "fn(u32) -> u32")
    );
    let text = error.to_string();
    assert!(
        text.contains("fn(u64) -> u32") && text.contains("fn(u32) -> u32"),
        "{text}"
    );
}

mod newer {
    use std::collections::BTreeMap;

    use super::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    pub(super) enum Kind {
        Plain,
        Sized { width: u32, height: u64 },
    }

    #[derive(Serialize, Deserialize)]
    pub(super) struct Order {
        id: u64,
        kind: Kind,
        notes: BTreeMap<String, Vec<String>>,
    }
}

#[test]
fn a_type_of_the_same_name_is_compared_by_its_fields() {
    let program = this_program();
    let asked = program.task::<newer::Order, newer::Order>("echo");
    let Err(LookupError::OtherTypes(other)) = asked else {
        panic!("{asked:?}");
    };
    assert!(other.ours().contains("height: u64"), "{other}");
    assert!(other.theirs().contains("height: u32"), "{other}");
}

#[test]
fn two_tasks_of_one_name_are_refused() {
    let error = this_program()
        .task::<u8, u8>("twice")
        .expect_err("there are two");
    assert!(
        error.to_string().contains("two tasks by the name `twice`"),
        "{error}"
    );
}

#[test]
fn a_builder_looks_up_in_its_program() {
    let builder = brigade::process::Builder::new().program(crate::this_file());
    let double = builder.task::<u32, u32>("double").expect("exported");
    let doubled = builder.spawn_named(&double, 21).expect("a process starts");
    assert_eq!(doubled.join().expect("it returns"), 42);
    let none = brigade::process::Builder::new().task::<u32, u32>("double");
    assert!(matches!(none, Err(LookupError::Program(_))), "{none:?}");
}

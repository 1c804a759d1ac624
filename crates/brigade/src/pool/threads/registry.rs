//! The pools of this process by their numbers: a task knows its pool's number, which costs nothing to copy.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::primitive::{Mutex, lock};
use super::shared::Shared;

static POOLS: Mutex<BTreeMap<u64, Weak<Shared>>> = Mutex::new(BTreeMap::new());

pub(super) fn enter(crew: &Arc<Shared>) {
    lock(&POOLS).insert(crew.number, Arc::downgrade(crew));
}

pub(super) fn leave(number: u64) {
    lock(&POOLS).remove(&number);
}

pub(super) fn find(number: u64) -> Option<Arc<Shared>> {
    lock(&POOLS).get(&number).and_then(Weak::upgrade)
}

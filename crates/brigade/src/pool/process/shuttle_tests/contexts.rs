//! Tasks that borrow contexts, which are taken back and given to others, amid deaths.

use super::{DEADLY, PATROLLED, is_a_death, joined, model, pool};
use crate::pool::Context;
use crate::worker::process::doubles::ForkServerClient;
use crate::worker::process::doubles::model::worker::Deed;
use crate::{JoinError, Pool};

/// As `deed`, with a context.
fn deed(_: &u64, _: Deed) -> u64 {
    unreachable!("the workers of the model know what to do")
}

/// Each worker that runs one of these has its context: the model looks.
fn in_turn(server: &ForkServerClient, pool: &Pool, contexts: &[Context<u64>], dies: bool) {
    let deeds = (0..8).map(|n| match n % 3 {
        0 => Deed::Plod(n),
        _ => Deed::Double(n),
    });
    let handles: Vec<_> = deeds
        .map(|d| {
            let at = d.number() as usize % contexts.len();
            (d, pool.submit_with(&contexts[at], deed, d))
        })
        .collect();
    let is_expected = |end: &Result<u64, JoinError>| end.is_ok() || dies && is_a_death(end);
    joined(server, handles, |_, end| is_expected(end));
}

#[test]
fn shuttle_a_worker_has_the_context_of_each_task() {
    model(PATROLLED, |server| {
        let pool = pool(2).build().expect("no reason not to");
        let contexts: Vec<_> = (0..3).map(Context::new).collect();
        in_turn(server, &pool, &contexts, false);
    });
}

#[test]
fn shuttle_of_more_contexts_than_a_worker_keeps_it_has_those_that_it_needs() {
    model(PATROLLED, |server| {
        let pool = pool(1).build().expect("no reason not to");
        let contexts: Vec<_> = (0..11).map(Context::new).collect();
        in_turn(server, &pool, &contexts, false);
        let handles = contexts.iter().zip(20..);
        let handles = handles.map(|(context, n)| {
            let d = Deed::Double(n);
            (d, pool.submit_with(context, deed, d))
        });
        joined(server, handles.collect::<Vec<_>>(), |_, end| end.is_ok());
    });
}

#[test]
fn shuttle_contexts_amid_deaths() {
    model(DEADLY, |server| {
        let Ok(pool) = pool(2).build() else { return };
        let contexts: Vec<_> = (0..2).map(Context::new).collect();
        in_turn(server, &pool, &contexts, true);
    });
}

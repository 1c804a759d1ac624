//! Tasks that a worker was given ahead, and that are taken back from it, again and again: what one
//! of them leaves behind is too little to be seen, and that of thousands would keep the worker from
//! being given anything any more.

use brigade::Kind;
use brigade::pool::Context;
use serde::{Deserialize, Serialize};

use crate::{double, join, occupy, pool, processes};

#[derive(Serialize, Deserialize)]
struct Added(Vec<u32>);

fn plus(added: &Added, n: u32) -> u32 {
    n + added.0[0]
}

fn sum(bytes: Vec<u8>) -> u32 {
    bytes.into_iter().map(u32::from).sum()
}

#[test]
fn cancelled_tasks_leave_room_for_others() {
    processes(|| {
        let pool = pool(Kind::Process, 1);
        let (busy, gate) = occupy(&pool);
        for n in 0..10_000 {
            pool.submit(double, n).cancel();
        }
        gate.add();
        assert_eq!(join(busy).expect("it returns"), 7);
        assert_eq!(join(pool.submit(double, 4)).expect("it returns"), 8);
        assert_eq!(pool.stats().restarts, 0);
    });
}

#[test]
fn cancelled_tasks_with_contexts_leave_room_for_others() {
    processes(|| {
        // One that is a part of an order, and one that goes through a file.
        for len in [400, 10_000] {
            let pool = pool(Kind::Process, 1);
            let context = |first| {
                let mut all = vec![1; len];
                all[0] = first;
                Context::new(Added(all))
            };
            let (busy, gate) = occupy(&pool);
            for n in 0..1_000 {
                pool.submit_with(context(n), plus, n).cancel();
            }
            gate.add();
            assert_eq!(join(busy).expect("it returns"), 7);
            // The longest that is a part of an order.
            let bytes = pool.submit(sum, vec![1; 31 * 1024]);
            assert_eq!(join(bytes).expect("it returns"), 31 * 1024);
            for n in 0..20 {
                let five = pool.submit_with(context(n), plus, 5);
                assert_eq!(join(five).expect("it returns"), 5 + n);
            }
        }
    });
}

#[test]
fn cancelled_tasks_with_large_inputs_leave_room_for_others() {
    processes(|| {
        let pool = pool(Kind::Process, 1);
        let (busy, gate) = occupy(&pool);
        for _ in 0..1_000 {
            pool.submit(sum, vec![1; 100_000]).cancel();
        }
        gate.add();
        assert_eq!(join(busy).expect("it returns"), 7);
        let bytes = pool.submit(sum, vec![2; 100_000]);
        assert_eq!(join(bytes).expect("it returns"), 200_000);
        assert_eq!(join(pool.submit(double, 4)).expect("it returns"), 8);
    });
}

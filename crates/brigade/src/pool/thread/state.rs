//! The state of a thread: what it has loaded for its tasks.

use std::any::Any;
use std::cell::{Cell, RefCell};

thread_local! {
    static STATE: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
    /// A task has panicked while it could change the state.
    static LOST: Cell<bool> = const { Cell::new(false) };
}

pub(super) fn set(state: Box<dyn Any>) {
    STATE.with(|it| *it.borrow_mut() = Some(state));
}

/// Whether the thread has lost its state, so that it may run no other task.
pub(super) fn is_lost() -> bool {
    LOST.try_with(Cell::get).unwrap_or(false)
}

/// Drops the state, which may panic.
pub(super) fn drop_it() {
    let state = STATE.with(RefCell::take);
    drop(state);
}

/// Taken out while a task has it, so that nothing else can come to it meanwhile.
struct Taken {
    state: Option<Box<dyn Any>>,
    /// A panic leaves it as it was.
    is_shared: bool,
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.is_shared || !std::thread::panicking() {
            STATE.with(|it| *it.borrow_mut() = self.state.take());
        } else {
            LOST.set(true);
        }
    }
}

/// Gives a task its thread's state. `is_shared`: it can only look at it.
pub(super) fn with<S: 'static, R>(is_shared: bool, task: impl FnOnce(&mut S) -> R) -> R {
    let mut taken = Taken {
        state: STATE.with(RefCell::take),
        is_shared,
    };
    let state = taken.state.as_mut().and_then(|it| it.downcast_mut());
    // No task runs on the stack of another (README.md), and each thread has loaded its state before
    // the first.
    task(state.unwrap_or_else(|| unreachable!("a thread without its state")))
}

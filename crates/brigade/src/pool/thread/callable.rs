//! What a task calls.

use std::sync::Arc;

use super::state;
use crate::pool::context::Context;

/// What a task calls: a function, or one with what it borrows.
pub(in crate::pool) enum Callable<A, R> {
    Plain(fn(A) -> R),
    With(Arc<dyn BoundCall<A, R>>),
}

/// A function with what it borrows.
pub(in crate::pool) trait BoundCall<A, R>: Send + Sync {
    fn call(&self, input: A) -> R;

    /// Where the function is.
    fn address(&self) -> usize;
}

impl<A, R> Callable<A, R> {
    #[inline]
    pub(super) fn call(&self, input: A) -> R {
        match self {
            Callable::Plain(task) => task(input),
            Callable::With(call) => call.call(input),
        }
    }

    /// The address of the function.
    pub(super) fn address(&self) -> usize {
        match self {
            Callable::Plain(task) => *task as usize,
            Callable::With(call) => call.address(),
        }
    }
}

impl<A: 'static, R: 'static> Callable<A, R> {
    pub(in crate::pool) fn with_context<C: Send + Sync + 'static>(
        context: Context<C>,
        task: fn(&C, A) -> R,
    ) -> Callable<A, R> {
        Callable::With(Arc::new(WithContext { context, task }))
    }
}

impl<A: 'static, R: 'static> Callable<A, R> {
    pub(in crate::pool) fn with_state<S: 'static>(task: fn(&S, A) -> R) -> Callable<A, R> {
        Callable::With(Arc::new(WithState(task)))
    }

    pub(in crate::pool) fn with_state_mut<S: 'static>(task: fn(&mut S, A) -> R) -> Callable<A, R> {
        Callable::With(Arc::new(WithStateMut(task)))
    }
}

struct WithState<S, A, R>(fn(&S, A) -> R);

impl<S: 'static, A, R> BoundCall<A, R> for WithState<S, A, R> {
    fn call(&self, input: A) -> R {
        state::with(true, |state: &mut S| (self.0)(state, input))
    }

    fn address(&self) -> usize {
        self.0 as usize
    }
}

struct WithStateMut<S, A, R>(fn(&mut S, A) -> R);

impl<S: 'static, A, R> BoundCall<A, R> for WithStateMut<S, A, R> {
    fn call(&self, input: A) -> R {
        state::with(false, |state: &mut S| (self.0)(state, input))
    }

    fn address(&self) -> usize {
        self.0 as usize
    }
}

struct WithContext<C, A, R> {
    context: Context<C>,
    task: fn(&C, A) -> R,
}

impl<C: Send + Sync, A, R> BoundCall<A, R> for WithContext<C, A, R> {
    fn call(&self, input: A) -> R {
        (self.task)(&self.context, input)
    }

    fn address(&self) -> usize {
        self.task as usize
    }
}

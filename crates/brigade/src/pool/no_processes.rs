//! In place of `process`, where there are no worker processes: a pool of them cannot be made.

use std::convert::Infallible;
use std::io;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

use super::config::Options;
use super::context::Context;
use super::input_item::InputItem;
use super::policy::keys::NotTaken;
use super::policy::task_options::TaskOptions;
use super::pool_size::PoolSize;
use super::stacks::WorkerStack;
use crate::process::NamedTask;
use crate::publish::{PoolPicture, PoolSource};
use crate::task::waiters::FutureWaiters;
use crate::worker::process::host::unsupported;
use crate::{JoinError, JoinHandle, Message, PoolStats};

/// What a task that borrows a context is to a pool of processes.
#[derive(Clone)]
pub(in crate::pool) struct TargetWithContext(Infallible);

/// A pool of processes: there is none.
pub(crate) struct ProcessPool(Infallible);

impl ProcessPool {
    pub(in crate::pool) fn start(_: Options) -> io::Result<Arc<ProcessPool>> {
        Err(unsupported())
    }

    pub(in crate::pool) fn submit<A: Message, R: Message>(
        self: &Arc<Self>,
        _: fn(A) -> R,
        _: A,
    ) -> JoinHandle<R> {
        match self.0 {}
    }

    pub(in crate::pool) fn submit_with<C: Message + Sync, A: Message, R: Message>(
        self: &Arc<Self>,
        _: &Context<C>,
        _: fn(&C, A) -> R,
        _: A,
    ) -> JoinHandle<R> {
        match self.0 {}
    }

    pub(in crate::pool) fn submit_keyed<A: Message, R: Message>(
        self: &Arc<Self>,
        _: u64,
        _: fn(A) -> R,
        _: A,
        _: TaskOptions,
    ) -> Result<JoinHandle<R>, A> {
        match self.0 {}
    }

    pub(in crate::pool) fn try_submit_keyed<A: Message, R: Message>(
        self: &Arc<Self>,
        _: u64,
        _: fn(A) -> R,
        _: A,
        _: TaskOptions,
    ) -> Result<JoinHandle<R>, NotTaken<A>> {
        match self.0 {}
    }

    pub(in crate::pool) fn try_submit<A: Message, R: Message>(
        self: &Arc<Self>,
        _: fn(A) -> R,
        _: A,
    ) -> Result<JoinHandle<R>, A> {
        match self.0 {}
    }

    pub(in crate::pool) fn submit_as<A: Message, R: Message>(
        self: &Arc<Self>,
        _: fn(A) -> R,
        _: A,
        _: TaskOptions,
    ) -> JoinHandle<R> {
        match self.0 {}
    }

    pub(in crate::pool) fn try_submit_as<A: Message, R: Message>(
        self: &Arc<Self>,
        _: fn(A) -> R,
        _: A,
        _: TaskOptions,
    ) -> Result<JoinHandle<R>, A> {
        match self.0 {}
    }

    pub(in crate::pool) fn target_with<C: Message + Sync, A: Message, R: Message>(
        &self,
        _: &Context<C>,
        _: fn(&C, A) -> R,
    ) -> TargetWithContext {
        match self.0 {}
    }

    pub(in crate::pool) fn submit_captured_as<A: Message, R: Message>(
        self: &Arc<Self>,
        _: TargetWithContext,
        _: A,
        _: TaskOptions,
    ) -> JoinHandle<R> {
        match self.0 {}
    }

    pub(in crate::pool) fn try_submit_captured_as<A: Message, R: Message>(
        self: &Arc<Self>,
        _: TargetWithContext,
        _: A,
        _: TaskOptions,
    ) -> Result<JoinHandle<R>, A> {
        match self.0 {}
    }

    /// There is none to ask.
    pub(in crate::pool) fn never<T>(&self) -> T {
        match self.0 {}
    }

    pub(in crate::pool) fn losses(&self) -> u64 {
        match self.0 {}
    }

    pub(in crate::pool) fn submit_named<A: Message, R: Message>(
        self: &Arc<Self>,
        _: &NamedTask<A, R>,
        _: A,
    ) -> JoinHandle<R> {
        match self.0 {}
    }

    pub(in crate::pool) fn try_submit_named<A: Message, R: Message>(
        self: &Arc<Self>,
        _: &NamedTask<A, R>,
        _: A,
    ) -> Result<JoinHandle<R>, A> {
        match self.0 {}
    }

    pub(in crate::pool) fn workers(&self) -> usize {
        match self.0 {}
    }

    pub(in crate::pool) fn resize(&self, _: &PoolSize) -> io::Result<()> {
        match self.0 {}
    }

    pub(in crate::pool) fn pids(&self) -> Vec<u32> {
        match self.0 {}
    }

    pub(in crate::pool) fn stats(&self) -> PoolStats {
        match self.0 {}
    }

    pub(in crate::pool) fn stacks(&self) -> Vec<WorkerStack> {
        match self.0 {}
    }

    pub(in crate::pool) fn try_submit_at<A: Message, R: Message>(
        self: &Arc<Self>,
        _: fn(A) -> R,
        _: &'static Location<'static>,
        _: A,
    ) -> Result<JoinHandle<R>, A> {
        match self.0 {}
    }

    pub(in crate::pool) fn room_waiters(&self) -> Option<&FutureWaiters> {
        match self.0 {}
    }

    pub(in crate::pool) fn idle_waiters(&self) -> &FutureWaiters {
        match self.0 {}
    }

    pub(in crate::pool) fn look_for_idle(&self) -> bool {
        match self.0 {}
    }

    pub(in crate::pool) fn look_for_room(&self) {
        match self.0 {}
    }

    pub(in crate::pool) fn is_fork_of_owner(&self) -> bool {
        match self.0 {}
    }

    pub(in crate::pool) fn close(&self) {
        match self.0 {}
    }

    pub(in crate::pool) fn is_closed(&self) -> bool {
        match self.0 {}
    }

    pub(in crate::pool) fn wait_idle(&self, _: Option<Instant>) -> bool {
        match self.0 {}
    }

    pub(in crate::pool) fn shutdown(&self) {
        match self.0 {}
    }

    pub(in crate::pool) fn flush_timeline(&self) {
        match self.0 {}
    }

    pub(in crate::pool) fn abort(&self) {
        match self.0 {}
    }
}

impl PoolSource for ProcessPool {
    fn picture(&self) -> PoolPicture {
        match self.0 {}
    }
}

/// A map over such a pool.
pub(in crate::pool) struct Map<A, R, I> {
    pool: Arc<ProcessPool>,
    of: PhantomData<fn(A, I) -> R>,
}

impl<A: Message, R: Message, I: Iterator<Item: InputItem<A>>> Map<A, R, I> {
    pub(in crate::pool) fn new(pool: &Arc<ProcessPool>, _: fn(A) -> R, _: I) -> Self {
        match pool.0 {}
    }

    pub(in crate::pool) fn with_context<C: Message + Sync>(
        pool: &Arc<ProcessPool>,
        _: &Context<C>,
        _: fn(&C, A) -> R,
        _: I,
    ) -> Self {
        match pool.0 {}
    }

    pub(in crate::pool) fn named(pool: &Arc<ProcessPool>, _: &NamedTask<A, R>, _: I) -> Self {
        match pool.0 {}
    }

    pub(in crate::pool) fn next_within(
        &mut self,
        _: usize,
    ) -> Option<(usize, Result<R, JoinError>)> {
        match self.pool.0 {}
    }

    pub(in crate::pool) fn next_ready(&mut self) -> Option<(usize, Result<R, JoinError>)> {
        match self.pool.0 {}
    }

    pub(in crate::pool) fn pass_over(&mut self) -> Option<usize> {
        match self.pool.0 {}
    }

    pub(in crate::pool) fn is_fork_of_owner(&self) -> bool {
        match self.pool.0 {}
    }

    pub(in crate::pool) fn inputs_left(&self) -> (usize, Option<usize>) {
        match self.pool.0 {}
    }

    pub(in crate::pool) fn pulled(&self) -> usize {
        match self.pool.0 {}
    }
}

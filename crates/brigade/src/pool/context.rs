//! Contexts: values that many tasks borrow.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
use std::sync::OnceLock;

use super::backend::Backend;
use super::{Map, Pool, map, process, thread};
use crate::{JoinHandle, Message};

/// A value that many tasks of a pool borrow: a table, a model, a configuration.
///
/// Between threads it is shared. For processes it is encoded once, when the first pool of processes
/// needs it, carried once to each worker that has a task for it, and decoded there by the first of
/// these tasks; [`PoolStats::context_bytes`](crate::PoolStats::context_bytes) shows that. Each
/// worker keeps the eight contexts that it used last, as long as the program has them; one that is
/// needed again after that is carried again, and so it is to the worker that replaces a dead one.
///
/// A context is the same for all its tasks: they borrow it, and what one of them changes by way of
/// a lock or an atomic stays in its worker if that is a process. Clones are the same context.
///
/// [`task!`](crate::task!) makes one of the values that a closure names.
///
/// If the context cannot be encoded or decoded, each task that needs it is
/// [`Undeliverable`](crate::JoinError::Undeliverable). If decoding it panics or crashes, so does
/// the task that needed it first; the next task tries again. After the program has dropped its
/// context, a worker process drops its own before it runs a task of another function.
///
/// # Examples
/// ```
/// use brigade::pool::Context;
/// use brigade::{Kind, Pool};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Words(Vec<String>);
///
/// fn find(words: &Words, word: String) -> Option<usize> {
///     words.0.binary_search(&word).ok()
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// brigade::init();
/// let words = Context::new(Words(["ant", "bee", "cow"].map(String::from).to_vec()));
/// for kind in [Kind::Thread, Kind::Process] {
///     let pool = Pool::new(kind, 2)?;
///     let wanted = ["bee", "dog", "ant"].map(String::from);
///     let found: Result<Vec<_>, _> = pool.map_with(&words, find, wanted).collect();
///     assert_eq!(found?, [Some(1), None, Some(0)]);
///     assert_eq!(pool.submit_with(&words, find, "cow".to_owned()).join()?, Some(2));
/// }
/// # Ok(())
/// # }
/// ```
#[doc(alias = "initargs")]
#[doc(alias = "broadcast")]
pub struct Context<C>(Arc<SharedContext<C>>);

struct SharedContext<C> {
    value: C,
    #[cfg(all(target_os = "linux", not(brigade_portable)))]
    encoded: OnceLock<Result<Arc<process::EncodedContext>, String>>,
}

impl<C> Context<C> {
    /// A context of this value. Nothing is encoded yet.
    pub fn new(value: C) -> Context<C> {
        Context(Arc::new(SharedContext {
            value,
            #[cfg(all(target_os = "linux", not(brigade_portable)))]
            encoded: OnceLock::new(),
        }))
    }
}

#[cfg(all(target_os = "linux", not(brigade_portable)))]
impl<C: Message> Context<C> {
    /// As it travels; or why it cannot.
    pub(super) fn encoded(&self) -> Result<Arc<process::EncodedContext>, String> {
        let encode = || process::EncodedContext::encode(&self.0.value);
        self.0.encoded.get_or_init(encode).clone()
    }
}

impl<C> Clone for Context<C> {
    fn clone(&self) -> Context<C> {
        Context(Arc::clone(&self.0))
    }
}

impl<C> Deref for Context<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.0.value
    }
}

impl<C> From<C> for Context<C> {
    fn from(value: C) -> Context<C> {
        Context::new(value)
    }
}

impl<C> From<&Context<C>> for Context<C> {
    fn from(context: &Context<C>) -> Context<C> {
        context.clone()
    }
}

impl<C: fmt::Debug> fmt::Debug for Context<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Context").field(&self.0.value).finish()
    }
}

/// Tasks that borrow a context.
impl Pool {
    /// As [`submit`](Self::submit), of a task that borrows a [`Context`]. Of a plain value that is
    /// given in its place, a context of this one task is made.
    #[track_caller]
    pub fn submit_with<C, A, R>(
        &self,
        context: impl Into<Context<C>>,
        task: fn(&C, A) -> R,
        input: A,
    ) -> JoinHandle<R>
    where
        C: Message + Sync,
        A: Message,
        R: Message,
    {
        let context = context.into();
        match &self.backend {
            Backend::Thread(pool) => pool.submit_with(context, task, input),
            Backend::Process(pool) => pool.submit_with(&context, task, input),
        }
    }

    /// As [`map`](Self::map), of a task that borrows a [`Context`]. Of a plain value that is given
    /// in its place, a context of this one map is made.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// brigade::init();
    /// let pool = brigade::Pool::processes(2)?;
    /// let squares: Vec<u64> = (0..10_000).map(|n| n * n).collect();
    /// let looked_up = pool.map_with(squares, |squares: &Vec<u64>, n: usize| squares[n], 0..100);
    /// assert_eq!(looked_up.last().expect("100 results")?, 99 * 99);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn map_with<C, A, R, I>(
        &self,
        context: impl Into<Context<C>>,
        task: fn(&C, A) -> R,
        inputs: I,
    ) -> Map<A, R, I::IntoIter>
    where
        C: Message + Sync,
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        let (context, inputs) = (context.into(), inputs.into_iter());
        let source = match &self.backend {
            Backend::Thread(pool) => {
                map::MapSource::Threads(thread::Map::with_context(pool, context, task, inputs))
            }
            Backend::Process(pool) => {
                map::MapSource::Processes(process::Map::with_context(pool, &context, task, inputs))
            }
        };
        Map::new(self.clone(), source)
    }
}

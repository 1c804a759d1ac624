//! Tasks that capture: a function, and the values that are named for it.

use std::fmt;

use super::{Context, Map, Pool, TaskBuilder};
use crate::{JoinHandle, Message};

/// A function and the values that it captures, as [`task!`](crate::task!) makes it: `A` is its
/// input, `R` its result, `C` a tuple of what it captures.
///
/// What is captured is a [`Context`]: a thread borrows it where it is; to a process it is carried
/// once, and not with each task. A clone captures the same values.
pub struct Captured<C, A, R> {
    context: Context<C>,
    task: fn(&C, A) -> R,
}

impl<C, A, R> Captured<C, A, R> {
    /// Of a function and what it borrows.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # brigade::init();
    /// use brigade::pool::{Captured, Context};
    ///
    /// let table = Context::new(vec![1.5, 2.5]);
    /// let look_up = Captured::new(&table, |table: &Vec<f64>, n: usize| table[n]);
    /// assert_eq!(look_up.call(1), 2.5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(context: impl Into<Context<C>>, task: fn(&C, A) -> R) -> Captured<C, A, R> {
        Captured {
            context: context.into(),
            task,
        }
    }

    /// Runs it here and now, in the calling thread.
    pub fn call(&self, input: A) -> R {
        (self.task)(&self.context, input)
    }

    /// What it captures.
    pub fn context(&self) -> &Context<C> {
        &self.context
    }
}

impl<C, A, R> Clone for Captured<C, A, R> {
    fn clone(&self) -> Captured<C, A, R> {
        Captured {
            context: self.context.clone(),
            task: self.task,
        }
    }
}

impl<C: fmt::Debug, A, R> fmt::Debug for Captured<C, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Captured")
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

/// Tasks that capture.
impl Pool {
    /// As [`submit`](Self::submit), of a task that captures: see [`task!`](crate::task!).
    #[track_caller]
    pub fn submit_captured<C, A, R>(&self, task: &Captured<C, A, R>, input: A) -> JoinHandle<R>
    where
        C: Message + Sync,
        A: Message,
        R: Message,
    {
        self.submit_with(&task.context, task.task, input)
    }

    /// As [`map`](Self::map), of a task that captures: see [`task!`](crate::task!).
    #[track_caller]
    pub fn map_captured<C, A, R, I>(
        &self,
        task: &Captured<C, A, R>,
        inputs: I,
    ) -> Map<A, R, I::IntoIter>
    where
        C: Message + Sync,
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        self.map_with(&task.context, task.task, inputs)
    }

    /// As [`task`](Self::task), of a task that captures: see [`task!`](crate::task!).
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// brigade::init();
    /// let pool = brigade::Pool::processes(2)?; // or Pool::threads(2)
    /// let prices = vec![3, 4];
    /// let price = brigade::task!(move |n: usize| -> u32 using (prices: &Vec<u32>) { prices[n] });
    /// let limited = pool.task_captured(&price).timeout(Duration::from_secs(5)).retries(1);
    /// assert_eq!(limited.submit(1).join()?, 4);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn task_captured<C, A, R>(&self, task: &Captured<C, A, R>) -> TaskBuilder<'_, A, R>
    where
        C: Message + Sync,
        A: Message,
        R: Message,
    {
        TaskBuilder::of_captured(self, &task.context, task.task)
    }
}

/// What a task may capture: a [`Message`] that threads may share.
///
/// Implemented for every type that qualifies.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be captured by a task",
    label = "a task cannot capture this",
    note = "what a task captures is a `brigade::Message` that threads may share: \
        `serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static`, as each part of it; \
        it is carried once to each worker process",
    note = "capture an owned value (`Vec<T>` for `&[T]`, seen in the task as `name: &Vec<T>`); \
        instead of `Rc`, `Cell` or `Arc<Mutex<T>>` a `brigade::Shared<brigade::sync::Mutex<T>>`; \
        what cannot travel, such as a connection, is loaded by each worker: `PoolBuilder::state`"
)]
pub trait Capture: Message + Sync {}

#[diagnostic::do_not_recommend]
impl<T: Message + Sync> Capture for T {}

/// What a task captures by value: each run of it has its own clone.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is captured by value, and cannot be cloned for each run of the task",
    label = "write `name: &{Self}`, and the task borrows it"
)]
pub trait CaptureByValue: Sized {
    /// A run's own.
    fn own(&self) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T: Clone> CaptureByValue for T {
    fn own(&self) -> T {
        self.clone()
    }
}

/// What is captured, checked to be what it may.
pub fn capture<T: Capture>(value: T) -> T {
    value
}

/// A task that captures: a function with its input, as a closure is written, and the values that it
/// uses beside the input, named with their types.
///
/// ```
/// use brigade::{Kind, Pool, task};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// brigade::init();
/// let prices = vec![3.0, 4.5, 2.0];
/// let discount = 0.5;
/// let price = task!(move |(article, count): (usize, u32)| -> f64
///     using (prices: &Vec<f64>, discount: f64) {
///     prices[article] * f64::from(count) * (1.0 - discount)
/// });
/// for kind in Kind::ALL {
///     let pool = Pool::new(kind, 2)?;
///     assert_eq!(pool.submit_captured(&price, (1, 2)).join()?, 4.5);
///     let all: Result<Vec<f64>, _> = pool.map_captured(&price, [(0, 1), (2, 10)]).collect();
///     assert_eq!(all?, [1.5, 10.0]);
/// }
/// # Ok(())
/// # }
/// ```
///
/// It gives a [`Captured`](crate::pool::Captured), for
/// [`Pool::submit_captured`](crate::Pool::submit_captured),
/// [`Pool::map_captured`](crate::Pool::map_captured) and
/// [`Pool::task_captured`](crate::Pool::task_captured), of a task with a timeout, a deadline or
/// retries of its own.
///
/// - `name: &T`: the variable `name`, a `T`, moves into the task, which borrows it: `name` is a
///   `&T` there.
/// - `name: T`: the same, and each run of the task has a clone of its own.
/// - `name: &T = expression`: of any expression, evaluated here and now; so a variable that is
///   needed further on is given as `name: &T = name.clone()`.
///
/// `move`, the result's type and `using (…)` may be left out. The input is a name, `_`, or a tuple
/// of patterns. Up to 16 values are captured, all together one [`Context`](crate::pool::Context):
/// encoded once, carried once to each worker process that needs it, kept there, and carried again
/// to the one that replaces a dead worker. A crash file has it beside it, so that the task can be
/// [run again](crate::init#a-crash-once-more).
///
/// # What the compiler refuses
///
/// The values are named because a closure's captures have no names: what a worker process is to be
/// sent cannot be found out.
///
/// | written | the compiler says | write |
/// |---|---|---|
/// | a variable that `using` does not name | "expected fn pointer, found closure", and "`x` captured here" | its name and type in `using (…)` |
/// | what is no [`Message`](crate::Message), or not `Sync`: `Rc`, `Cell`, a connection | "cannot be captured by a task" | an owned value, a [`Shared`](crate::Shared), a [state](crate::PoolBuilder::state) |
/// | `name: T`, which is not `Clone` | "is captured by value, and cannot be cloned" | `name: &T` |
/// | `name: &mut T` | "a task cannot change what it captures" | a `Shared<Mutex<T>>`, or a [state](crate::PoolBuilder::state) |
/// | `name: &str`, `name: &[T]` | "a task borrows an owned value" | `name: &String`, `name: &Vec<T>` |
/// | no type, none or two inputs | "a task has one input, with its type" | `\|n: u32\|`, `\|(): ()\|`, `\|(a, b): (A, B)\|` |
///
/// In threads alone a [scope](crate::Pool::scope) borrows without all this.
#[macro_export]
macro_rules! task {
    (move || $($rest:tt)*) => { $crate::task!(@one_input) };
    (|| $($rest:tt)*) => { $crate::task!(@one_input) };
    (move | $($rest:tt)*) => { $crate::task!(@input $($rest)*) };
    (| $($rest:tt)*) => { $crate::task!(@input $($rest)*) };
    (async $($rest:tt)*) => {
        ::core::compile_error!("a task is no `async` closure: block on the future in it, a task has a worker to itself")
    };

    // The input.
    (@input mut $input:ident : $A:ty | $($rest:tt)*) => {
        $crate::task!(@result [mut $input] [$A] $($rest)*)
    };
    (@input $input:tt : $A:ty | $($rest:tt)*) => {
        $crate::task!(@result [$input] [$A] $($rest)*)
    };
    (@input $($rest:tt)*) => { $crate::task!(@one_input) };
    (@one_input) => {
        ::core::compile_error!("a task has one input, with its type: `|n: u32|`; none is `|(): ()|`, two are a tuple, `|(a, b): (A, B)|`")
    };

    // The result: all up to `using`, or up to the body.
    (@result $input:tt $A:tt -> $($rest:tt)*) => {
        $crate::task!(@named $input $A [] $($rest)*)
    };
    (@result $input:tt $A:tt $($rest:tt)*) => {
        $crate::task!(@captures $input $A [_] $($rest)*)
    };
    (@named $input:tt $A:tt [$($R:tt)+] using $($rest:tt)*) => {
        $crate::task!(@captures $input $A [$($R)+] using $($rest)*)
    };
    (@named $input:tt $A:tt [$($R:tt)+] { $($body:tt)* }) => {
        $crate::task!(@captures $input $A [$($R)+] { $($body)* })
    };
    (@named $input:tt $A:tt [$($R:tt)*] $next:tt $($rest:tt)*) => {
        $crate::task!(@named $input $A [$($R)* $next] $($rest)*)
    };

    // What it captures: name, type, value, and how the body sees it.
    (@captures $input:tt $A:tt $R:tt using ($($captures:tt)*) { $($body:tt)* }) => {
        $crate::task!(@capture $input $A $R { $($body)* } [] $($captures)*)
    };
    (@captures $input:tt $A:tt $R:tt { $($body:tt)* }) => {
        $crate::task!(@capture $input $A $R { $($body)* } [])
    };
    (@capture $input:tt $A:tt $R:tt $body:tt [$($done:tt)*] $name:ident : & mut $($rest:tt)*) => {
        ::core::compile_error!("a task cannot change what it captures, for other workers have it too: capture a `Shared<Mutex<T>>`, or give the workers a state (`PoolBuilder::state`)")
    };
    (@capture $input:tt $A:tt $R:tt $body:tt [$($done:tt)*] $name:ident : & $life:lifetime $($rest:tt)*) => {
        ::core::compile_error!("a task borrows what it captures for its own time: write `name: &T`, without a lifetime")
    };
    (@capture $input:tt $A:tt $R:tt $body:tt [$($done:tt)*] $name:ident : & str $($rest:tt)*) => {
        ::core::compile_error!("a task borrows an owned value: write `name: &String` for a `&str`")
    };
    (@capture $input:tt $A:tt $R:tt $body:tt [$($done:tt)*] $name:ident : & [$T:ty] $($rest:tt)*) => {
        ::core::compile_error!("a task borrows an owned value: write `name: &Vec<T>` for a `&[T]`, or `name: &Shared<[T]>` for much data")
    };
    (@capture $input:tt $A:tt $R:tt $body:tt [$($done:tt)*]
        $name:ident : & $T:ty = $value:expr $(, $($rest:tt)*)?) => {
        $crate::task!(@capture $input $A $R $body [$($done)* ($name [$T] [$value] [])] $($($rest)*)?)
    };
    (@capture $input:tt $A:tt $R:tt $body:tt [$($done:tt)*]
        $name:ident : & $T:ty $(, $($rest:tt)*)?) => {
        $crate::task!(@capture $input $A $R $body [$($done)* ($name [$T] [$name] [])] $($($rest)*)?)
    };
    (@capture $input:tt $A:tt $R:tt $body:tt [$($done:tt)*]
        $name:ident : $T:ty = $value:expr $(, $($rest:tt)*)?) => {
        $crate::task!(@capture $input $A $R $body [$($done)* ($name [$T] [$value] [own])] $($($rest)*)?)
    };
    (@capture $input:tt $A:tt $R:tt $body:tt [$($done:tt)*]
        $name:ident : $T:ty $(, $($rest:tt)*)?) => {
        $crate::task!(@capture $input $A $R $body [$($done)* ($name [$T] [$name] [own])] $($($rest)*)?)
    };
    (@capture [$($input:tt)+] [$A:ty] [$($R:tt)+] $body:tt
        [$(($name:ident [$T:ty] [$value:expr] [$($own:tt)*]))*]) => {
        $crate::pool::Captured::new(
            ($($crate::__task::capture::<$T>($value),)*),
            |captured: &($($T,)*), $($input)+: $A| -> $($R)+ {
                let ($($name,)*) = captured;
                $($crate::task!(@own $name [$T] $($own)*);)*
                $body
            },
        )
    };
    (@capture $($rest:tt)*) => {
        ::core::compile_error!("what a task captures is a list of names with their types: `using (table: &Table, factor: f64)`, or `table: &Table = expression`")
    };
    (@own $name:ident [$T:ty] own) => {
        let $name = <$T as $crate::__task::CaptureByValue>::own($name);
    };
    (@own $name:ident [$T:ty]) => {};

    ($($other:tt)*) => {
        ::core::compile_error!("a task that captures is written `task!(move |input: A| -> R using (table: &Table, factor: f64) { … })`")
    };
}

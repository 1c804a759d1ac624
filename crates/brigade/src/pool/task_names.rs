//! What the tasks of a pool are called, for their spans.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::task::name::TaskName;

/// The names of functions, each by its address and by where it was started. To find one out takes
/// longer than to open a span.
#[derive(Debug, Default)]
pub(in crate::pool) struct TaskNames(Mutex<HashMap<(usize, usize), Arc<str>>>);

impl TaskNames {
    /// `name` is called once for each key; it may take its time.
    pub(in crate::pool) fn get(
        &self,
        key: (usize, usize),
        name: impl FnOnce() -> TaskName,
    ) -> Arc<str> {
        if let Some(name) = self.lock().get(&key) {
            return Arc::clone(name);
        }
        let name: Arc<str> = name().get().into();
        self.lock().insert(key, Arc::clone(&name));
        name
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(usize, usize), Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

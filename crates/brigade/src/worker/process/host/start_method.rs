//! How worker processes are made.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// How worker processes are made; what [`start_method`](crate::process::start_method) tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartMethod {
    /// Each is a copy of the fork server: fork(2). Some 0.2 ms.
    Fork,
    /// Each is a start of the program that does not come as far as `main`: execve(2). Some 1.2 ms,
    /// which spare workers hide unless many are asked for at once. Everything else is the same, but
    /// that each worker has the threads of the library, too.
    #[non_exhaustive]
    Exec {
        /// The names of the threads that a library has started before `main`.
        threads: Vec<String>,
        /// What starts them, and how to have it not do so, where that is known.
        advice: Option<&'static str>,
    },
}

impl StartMethod {
    pub(in crate::worker::process) fn new(
        threads: Vec<String>,
        libraries: &[impl AsRef<str>],
    ) -> StartMethod {
        if threads.is_empty() {
            return StartMethod::Fork;
        }
        let has = |name: &str| {
            let mut libraries = libraries.iter();
            threads.iter().any(|t| t.starts_with(name))
                || libraries.any(|l| l.as_ref().contains(name))
        };
        let known = KNOWN.into_iter().find(|(name, _)| has(name));
        StartMethod::Exec {
            threads,
            advice: known.map(|(_, advice)| advice),
        }
    }

    /// Says it in `tracing` where it is out of the ordinary: once.
    pub(in crate::worker::process) fn log_once(&self) {
        static TOLD: AtomicBool = AtomicBool::new(false);
        if *self != StartMethod::Fork && !TOLD.swap(true, Ordering::Relaxed) {
            crate::task::contain::contained(
                || crate::trace::warn!(target: "brigade::process", "{self}"),
            );
        }
    }
}

/// Part of a thread's name or of a library's path, and what avoids the threads.
const KNOWN: [(&str, &str); 2] = [
    (
        "openblas",
        "OpenBLAS starts them unless OPENBLAS_NUM_THREADS=1 is set before the program starts",
    ),
    (
        "jemalloc",
        "jemalloc starts them where it is told background_thread:true (MALLOC_CONF)",
    ),
];

impl fmt::Display for StartMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StartMethod::Exec { threads, advice } = self else {
            return f.write_str("workers are forked from the fork server");
        };
        let (count, s) = (threads.len(), if threads.len() == 1 { "" } else { "s" });
        write!(
            f,
            "workers are made by executing the program again, which takes about a millisecond: a \
             library has started {count} thread{s} before main ({}), and a process with threads \
             cannot be forked. ",
            threads.join(", ")
        )?;
        f.write_str(advice.unwrap_or(
            "A variable of that library may have it start them later; or load it (dlopen) in the \
             pool's initializer",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_library_is_told() {
        assert_eq!(
            StartMethod::new(Vec::new(), &["libopenblas.so.0"]),
            StartMethod::Fork
        );
        let told = |thread: &str, library| {
            StartMethod::new(vec![thread.to_owned()], &[library]).to_string()
        };
        let blas = told("sums", "/usr/lib/libopenblas.so.0");
        assert!(blas.contains("1 thread before main (sums)"), "{blas}");
        assert!(blas.contains("OPENBLAS_NUM_THREADS"), "{blas}");
        assert!(told("jemalloc_bg_thd", "").contains("background_thread"));
        assert!(told("x", "libx.so").contains("dlopen"));
    }
}

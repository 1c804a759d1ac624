//! What the compiler refuses, in words that say what to do. Each case is a program that is compiled
//! against the library of this test, and refused with these sentences.
//!
//! Ours are pinned; of the compiler's own only the code and what does not depend on its version.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What compiles: a task for each of the refused ones, as the documentation of `Message` has it.
const ACCEPTED: &str = r#"
    use brigade::{Pool, Shared, TaskError};
    use brigade::sync::Mutex;
    pub fn run(pool: &Pool, total: Shared<Mutex<u64>>) {
        pool.submit(|s: String| s.len(), "x".to_owned());
        pool.submit(|s: String| -> Result<u32, TaskError> { Ok(s.parse()?) }, "7".to_owned());
        pool.submit(|(price, n)| price * n, (3_u32, 4_u32));
        pool.submit(|()| -> () { std::process::abort() }, ());
        pool.submit(|()| 7, ());
        pool.submit(|total: Shared<Mutex<u64>>| *total.lock().unwrap(), total);
        let price = 3;
        let table = vec![1_u32];
        pool.submit_captured(&brigade::task!(move |n: u32| -> u32
            using (table: &Vec<u32>, price: u32) { n * price + table[0] }), 1);
    }
"#;

struct Case {
    name: &'static str,
    /// What is in the body of `fn run(pool: &brigade::Pool)`.
    body: &'static str,
    code: Option<&'static str>,
    said: &'static [&'static str],
}

/// What is said of every type that is no `Message`.
const ADVICE: [&str; 4] = [
    "a type of the program derives serde's traits",
    "use an owned value (`String` for `&str`), or a `brigade::Shared` region",
    "instead of `anyhow::Error`, `io::Error` and the like `brigade::TaskError`",
    "the table in the documentation of `brigade::Message`",
];

const CASES: &[Case] = &[
    Case {
        name: "a_str",
        body: "fn len(s: &str) -> usize { s.len() } pool.submit(len, \"x\");",
        // Whether lifetimes fit is found out last, and cannot be given other words.
        code: None,
        said: &["is not general enough", "`&str`"],
    },
    Case {
        name: "a_slice",
        body: "fn len(s: &[u64]) -> usize { s.len() } pool.submit(len, &[1][..]);",
        code: Some("E0277"),
        said: &["`&[u64]` is not a `Message`: it cannot be a task's input or result"],
    },
    Case {
        name: "an_error_that_serde_does_not_know",
        body: "pool.submit(|path: String| std::fs::read_to_string(path), \"x\".to_owned());",
        code: Some("E0277"),
        said: &["`Result<String, std::io::Error>` is not a `Message`"],
    },
    Case {
        name: "a_closure_that_captures",
        body: "let price = 3; pool.submit(|n: u32| n * price, 1);",
        code: Some("E0308"),
        said: &[
            "expected fn pointer, found closure",
            "`price` captured here",
        ],
    },
    Case {
        name: "a_capture_that_is_not_named",
        body: "let price = 3; let _ = brigade::task!(move |n: u32| -> u32 { n * price });",
        code: Some("E0308"),
        said: &[
            "expected fn pointer, found closure",
            "`price` captured here",
        ],
    },
    Case {
        name: "a_capture_that_is_no_message",
        body: "let rc = std::rc::Rc::new(1_u32); \
            let _ = brigade::task!(move |n: u32| -> u32 using (rc: &std::rc::Rc<u32>) { n + **rc });",
        code: None,
        said: &[
            "error[E0277]",
            "`Rc<u32>` cannot be captured by a task",
            "carried once to each worker process",
            "instead of `Rc`, `Cell` or `Arc<Mutex<T>>` a `brigade::Shared<brigade::sync::Mutex<T>>`",
            "what cannot travel, such as a connection, is loaded by each worker: `PoolBuilder::state`",
        ],
    },
    Case {
        name: "a_capture_that_threads_may_not_share",
        body: "let cell = std::cell::Cell::new(1_u32); \
            let _ = brigade::task!(move |n: u32| -> u32 using (cell: &std::cell::Cell<u32>) { n + cell.get() });",
        code: None,
        said: &[
            "error[E0277]",
            "`Cell<u32>` cannot be captured by a task",
            "a `brigade::Message` that threads may share",
        ],
    },
    Case {
        name: "a_capture_by_value_that_cannot_be_cloned",
        body: "let count = std::sync::Mutex::new(1_u32); \
            let _ = brigade::task!(move |n: u32| -> u32 using (count: std::sync::Mutex<u32>) { n });",
        code: None,
        said: &[
            "error[E0277]",
            "Mutex<u32>` is captured by value, and cannot be cloned for each run of the task",
            "write `name: &",
        ],
    },
    Case {
        name: "a_capture_of_another_type",
        body: "let table = vec![1_u32]; let table = &table; \
            let _ = brigade::task!(move |n: usize| -> u32 using (table: &Vec<u32>) { table[n] });",
        code: Some("E0308"),
        said: &["expected `Vec<u32>`, found `&Vec<u32>`"],
    },
    Case {
        name: "a_capture_to_be_changed",
        body: "let mut total = 0_u32; \
            let _ = brigade::task!(move |n: u32| -> () using (total: &mut u32) { *total += n; });",
        code: None,
        said: &[
            "a task cannot change what it captures, for other workers have it too: \
             capture a `Shared<Mutex<T>>`, or give the workers a state (`PoolBuilder::state`)",
        ],
    },
    Case {
        name: "a_capture_of_a_str",
        body: "let word = \"x\"; \
            let _ = brigade::task!(move |n: usize| -> usize using (word: &str) { n + word.len() });",
        code: None,
        said: &["a task borrows an owned value: write `name: &String` for a `&str`"],
    },
    Case {
        name: "a_capture_of_a_slice",
        body: "let table = &[1_u32][..]; \
            let _ = brigade::task!(move |n: usize| -> u32 using (table: &[u32]) { table[n] });",
        code: None,
        said: &[
            "a task borrows an owned value: write `name: &Vec<T>` for a `&[T]`, or \
             `name: &Shared<[T]>` for much data",
        ],
    },
    Case {
        name: "a_capture_with_a_lifetime",
        body: "let table = vec![1_u32]; \
            let _ = brigade::task!(move |n: usize| -> u32 using (table: &'static Vec<u32>) { table[n] });",
        code: None,
        said: &["write `name: &T`, without a lifetime"],
    },
    Case {
        name: "a_capture_without_a_type",
        body: "let table = vec![1_u32]; \
            let _ = brigade::task!(move |n: usize| -> u32 using (table) { table[n] });",
        code: None,
        said: &["what a task captures is a list of names with their types: `using (table: &Table"],
    },
    Case {
        name: "a_capturing_task_of_two_inputs",
        body: "let _ = brigade::task!(move |a: u32, b: u32| -> u32 { a + b });",
        code: None,
        said: &[
            "a task has one input, with its type",
            "two are a tuple, `|(a, b): (A, B)|`",
        ],
    },
    Case {
        name: "a_capturing_task_of_an_input_without_a_type",
        body: "let _ = brigade::task!(move |n| n + 1);",
        code: None,
        said: &["a task has one input, with its type: `|n: u32|`"],
    },
    Case {
        name: "a_capturing_task_without_an_input",
        body: "let _ = brigade::task!(move || 7);",
        code: None,
        said: &["a task has one input, with its type", "none is `|(): ()|`"],
    },
    Case {
        name: "a_capturing_task_that_is_async",
        body: "let _ = brigade::task!(async move |n: u32| n);",
        code: None,
        said: &["a task is no `async` closure: block on the future in it"],
    },
    Case {
        name: "a_capturing_task_that_is_a_function",
        body: "fn double(n: u32) -> u32 { n * 2 } let _ = brigade::task!(double);",
        code: None,
        said: &["a task that captures is written `task!(move |input: A| -> R using ("],
    },
    Case {
        name: "a_capturing_task_given_as_another",
        body: "let price = 3_u32; \
            pool.submit(brigade::task!(move |n: u32| -> u32 using (price: u32) { n * price }), 1);",
        code: Some("E0308"),
        said: &["expected fn pointer, found `Captured<(u32,), u32, u32>`"],
    },
    Case {
        name: "an_async_fn",
        body: "async fn serve(n: u32) -> u32 { n } pool.submit(serve, 1);",
        code: Some("E0277"),
        said: &[
            "`impl Future<Output = u32>` is not a `Message`",
            "instead of an `async fn` a plain `fn`",
        ],
    },
    Case {
        name: "two_arguments",
        body: "fn add(a: u32, b: u32) -> u32 { a + b } pool.submit(add, (1_u32, 2_u32));",
        code: Some("E0308"),
        said: &["incorrect number of function parameters"],
    },
    Case {
        name: "no_argument",
        body: "pool.submit(|| 7, ());",
        code: Some("E0593"),
        said: &["takes 0 arguments"],
    },
    Case {
        name: "no_result",
        body: "pool.submit(|()| std::process::abort(), ());",
        code: Some("E0277"),
        said: &[
            "`!` is not a `Message`",
            "name its result, as in `|()| -> ()`",
        ],
    },
    Case {
        name: "a_file",
        body: "pool.submit(|_: std::fs::File| 1, std::fs::File::open(\"x\").unwrap());",
        code: Some("E0277"),
        said: &["`File` is not a `Message`"],
    },
    Case {
        name: "a_type_without_serde",
        body: "struct Order; pool.submit(|(_, n): (Order, u32)| n, (Order, 1_u32));",
        code: Some("E0277"),
        said: &["`(Order, u32)` is not a `Message`"],
    },
    #[cfg(feature = "derive")]
    Case {
        name: "an_async_main_without_a_runtime",
        body: "#[brigade::main] async fn main() {}",
        code: None,
        said: &[
            "an `async fn` needs a runtime: put its attribute, such as `#[tokio::main]`, below",
        ],
    },
    #[cfg(feature = "derive")]
    Case {
        name: "an_attribute_with_arguments",
        body: "#[brigade::test(threads = 2)] fn cooks() {}",
        code: None,
        said: &["the only argument is `init_with = function`"],
    },
    #[cfg(feature = "derive")]
    Case {
        name: "an_attribute_of_no_function",
        body: "#[brigade::main] struct Order;",
        code: None,
        said: &["expected a function with a body"],
    },
    Case {
        name: "a_channel_of_references",
        body: "let _ = brigade::channel::shm::<&'static [u64]>(1);",
        code: Some("E0277"),
        said: &[
            "`&'static [u64]` is not a `Message`",
            "or go through a channel",
        ],
    },
];

/// Compiles a library. The compiler's words, if it refuses it.
fn compile(name: &str, source: &str) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").map(PathBuf::from);
    // That of cargo's own toolchain, which the library was built with.
    let beside = cargo
        .map(|cargo| cargo.with_file_name("rustc"))
        .filter(|rustc| rustc.exists());
    let rustc = beside.unwrap_or_else(|| "rustc".into());
    let (library, libraries) = library();
    let mut child = Command::new(rustc)
        .args([
            "--edition=2024",
            "--crate-type=lib",
            "--emit=metadata",
            "--crate-name",
            name,
            "-",
        ])
        .arg("--out-dir")
        .arg(env!("CARGO_TARGET_TMPDIR"))
        .arg("--extern")
        .arg(format!("brigade={}", library.display()))
        .arg("-L")
        .arg(format!("dependency={}", libraries.display()))
        .env_remove("RUSTC_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rustc starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(source.as_bytes()).expect("rustc reads");
    drop(stdin);
    let output = child.wait_with_output().expect("rustc ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(())
    } else {
        Err(said)
    }
}

/// The library that cargo has built for this test, and the directory in which it and all that it
/// needs are.
fn library() -> (PathBuf, PathBuf) {
    let this = std::env::current_exe().expect("has a path");
    let libraries = this.parent().expect("is in a directory");
    let is_library = |path: &Path| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        name.starts_with("libbrigade-") && name.ends_with(".rlib")
    };
    let built = |path: &PathBuf| {
        std::fs::metadata(path)
            .and_then(|meta| meta.modified())
            .ok()
    };
    let library = std::fs::read_dir(libraries)
        .expect("can be read")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_library(path))
        // With other features or flags it has another name there: the last one is this test's.
        .max_by_key(built);
    (library.expect("cargo has built it"), libraries.to_owned())
}

#[test]
fn what_is_to_be_written_instead_compiles() {
    compile("accepted", ACCEPTED).expect("compiles");
}

#[test]
fn each_is_refused_in_words_that_help() {
    for case in CASES {
        let source = format!("pub fn run(pool: &brigade::Pool) {{ {} }}", case.body);
        let said = compile(case.name, &source).expect_err(case.name);
        let code = case.code.map(|code| format!("error[{code}]"));
        let advice = ADVICE.iter().filter(|_| case.code == Some("E0277"));
        for sentence in case
            .said
            .iter()
            .chain(advice)
            .copied()
            .chain(code.as_deref())
        {
            assert!(
                said.contains(sentence),
                "{}: no {sentence:?} in\n{said}",
                case.name
            );
        }
    }
}

//! What the server is told, by its command line and by a file that a reload reads again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use brigade::Kind;
use clap::Parser;
use serde::{Deserialize, Serialize};

/// What the command line says. What it says beats the file.
#[derive(Clone, Debug, Parser, Default, Serialize, Deserialize)]
#[command(
    name = "web_server",
    about = "Serves a directory, and runs requests in workers that may crash"
)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Options {
    /// A file with these same options (`root = "/srv/www"`, `max-body = 1048576`), read again at
    /// SIGHUP
    #[arg(long)]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,
    /// The address to listen at; port 0 takes any. A socket that systemd passes comes first
    #[arg(long)]
    pub(crate) listen: Option<SocketAddr>,
    /// The directory to serve
    #[arg(long)]
    pub(crate) root: Option<PathBuf>,
    /// What serves: `process` or `thread`
    #[arg(long)]
    pub(crate) workers: Option<Kind>,
    /// How many workers accept connections
    #[arg(long)]
    pub(crate) fronts: Option<usize>,
    /// Threads of each of them
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// How many workers run requests, for each that accepts connections
    #[arg(long)]
    pub(crate) handlers: Option<usize>,
    /// Workers that run requests reach nothing but what they are given
    #[arg(long)]
    pub(crate) sandbox: bool,
    /// Where `/upstream/` asks
    #[arg(long)]
    pub(crate) upstream: Option<SocketAddr>,
    /// Serves `/status`
    #[arg(long)]
    pub(crate) status: bool,
    /// Serves `/fault/…`, which break the worker that runs them
    #[arg(long)]
    pub(crate) faults: bool,
    /// Connections at once, for each worker that accepts them; more wait in the backlog
    #[arg(long)]
    pub(crate) max_connections: Option<usize>,
    /// Bytes of a request's head
    #[arg(long)]
    pub(crate) max_head: Option<usize>,
    /// Header fields of a request
    #[arg(long)]
    pub(crate) max_headers: Option<usize>,
    /// Bytes of a request's body
    #[arg(long)]
    pub(crate) max_body: Option<usize>,
    /// Milliseconds that a connection may wait for the head of a request, and take over it
    #[arg(long)]
    pub(crate) head_timeout: Option<u64>,
    /// Milliseconds that a body may take to arrive
    #[arg(long)]
    pub(crate) body_timeout: Option<u64>,
    /// Milliseconds in which a client must take at least some of a response
    #[arg(long)]
    pub(crate) write_timeout: Option<u64>,
    /// Milliseconds that a request may run in its worker
    #[arg(long)]
    pub(crate) request_timeout: Option<u64>,
    /// Requests that may wait for a worker; beyond it the answer is 503
    #[arg(long)]
    pub(crate) queue: Option<usize>,
    /// Milliseconds that idle connections are served for after a reload
    #[arg(long)]
    pub(crate) drain: Option<u64>,
    /// MiB of memory beyond which a worker that runs requests is replaced
    #[arg(long)]
    pub(crate) recycle_above: Option<u64>,
    /// MiB of memory beyond which it is killed
    #[arg(long)]
    pub(crate) memory_limit: Option<u64>,
}

/// What a front is told. It is a message: a front may be a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) root: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) fronts: usize,
    pub(crate) threads: usize,
    pub(crate) handlers: usize,
    pub(crate) sandbox: bool,
    pub(crate) upstream: Option<SocketAddr>,
    pub(crate) status: bool,
    pub(crate) faults: bool,
    pub(crate) limits: Limits,
    /// What was on the command line, which a reload keeps.
    pub(crate) told: Options,
}

/// What one client may take.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) head: usize,
    pub(crate) headers: usize,
    pub(crate) body: usize,
    pub(crate) head_time: Duration,
    pub(crate) body_time: Duration,
    pub(crate) write_time: Duration,
    pub(crate) request_time: Duration,
    pub(crate) queue: usize,
    pub(crate) drain: Duration,
    pub(crate) recycle_above: u64,
    pub(crate) memory: u64,
}

/// From the command line, and the file that it names.
pub(crate) fn load() -> Result<Config, String> {
    with_file(Options::parse())
}

impl Config {
    /// The same command line, with what its file says now.
    pub(crate) fn reload(&self) -> Result<Config, String> {
        with_file(self.told.clone())
    }
}

fn with_file(told: Options) -> Result<Config, String> {
    let file = match &told.config {
        None => Options::default(),
        Some(path) => {
            let named = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
            let text = std::fs::read_to_string(path).map_err(|e| named(&e))?;
            toml::from_str(&text).map_err(|e| named(&e))?
        }
    };
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    let time = |told: Option<u64>, file: Option<u64>, default| {
        Duration::from_millis(told.or(file).unwrap_or(default))
    };
    let root = told
        .root
        .clone()
        .or(file.root)
        .ok_or("say which directory: --root DIR")?;
    let root = std::fs::canonicalize(&root).map_err(|e| format!("{}: {e}", root.display()))?;
    let config = Config {
        listen: told
            .listen
            .or(file.listen)
            .unwrap_or(([127, 0, 0, 1], 8080).into()),
        root,
        kind: told.workers.or(file.workers).unwrap_or(Kind::Process),
        fronts: told.fronts.or(file.fronts).unwrap_or(1),
        threads: told.threads.or(file.threads).unwrap_or(processors),
        handlers: told.handlers.or(file.handlers).unwrap_or(processors),
        sandbox: told.sandbox || file.sandbox,
        upstream: told.upstream.or(file.upstream),
        status: told.status || file.status,
        faults: told.faults || file.faults,
        limits: Limits {
            connections: told
                .max_connections
                .or(file.max_connections)
                .unwrap_or(4096),
            head: told.max_head.or(file.max_head).unwrap_or(16 << 10),
            headers: told.max_headers.or(file.max_headers).unwrap_or(100),
            body: told.max_body.or(file.max_body).unwrap_or(1 << 20),
            head_time: time(told.head_timeout, file.head_timeout, 30_000),
            body_time: time(told.body_timeout, file.body_timeout, 30_000),
            write_time: time(told.write_timeout, file.write_timeout, 30_000),
            request_time: time(told.request_timeout, file.request_timeout, 10_000),
            queue: told.queue.or(file.queue).unwrap_or(512),
            drain: time(told.drain, file.drain, 30_000),
            recycle_above: told.recycle_above.or(file.recycle_above).unwrap_or(128) << 20,
            memory: told.memory_limit.or(file.memory_limit).unwrap_or(512) << 20,
        },
        told,
    };
    for (name, number) in [
        ("fronts", config.fronts),
        ("threads", config.threads),
        ("handlers", config.handlers),
        ("max-connections", config.limits.connections),
        ("queue", config.limits.queue),
    ] {
        if number == 0 {
            return Err(format!("{name} must be at least 1"));
        }
    }
    if config.sandbox && config.kind == Kind::Thread {
        return Err("a thread cannot be shut in: --sandbox needs --workers process".to_owned());
    }
    Ok(config)
}

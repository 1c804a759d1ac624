//! A front: a worker, thread or process, that accepts connections, speaks HTTP, and gives what is
//! risky to a pool of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use brigade::supervise::Context;
use brigade::{Pool, Sandbox, Shared, process};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use crate::client::Client;
use crate::config::Config;
use crate::handlers;
use crate::master::Listener;
use crate::service::Service;

/// What accepting waits when the process has no descriptor left for a connection.
const NO_ROOM: Duration = Duration::from_millis(100);

/// What a front is started with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) listener: Listener,
    pub(crate) config: Config,
    pub(crate) generation: u32,
    pub(crate) is_last: Shared<AtomicU32>,
}

/// How the connections of a front stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    /// Each response is the last of its connection; one that is idle is still served.
    Draining,
    /// Idle connections are closed.
    Closing,
}

/// Runs a front until its supervisor says to stop, and its connections have ended.
pub(crate) fn run(start: Start) -> Result<(), String> {
    crate::log_to_stderr();
    let context = Context::current();
    // From now on it is told to stop, and not ended by SIGTERM.
    context.should_stop();
    let pool = pool(&start.config).map_err(|e| format!("workers for requests: {e}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(start.config.threads)
        .enable_all()
        .build()
        .map_err(|e| format!("a runtime: {e}"))?;
    let served = runtime.block_on(serve(start, context, pool));
    // What was dropped at the deadline may wait for its worker.
    runtime.shutdown_timeout(Duration::from_millis(100));
    served.map_err(|e| e.to_string())
}

fn pool(config: &Config) -> io::Result<Pool> {
    let limits = &config.limits;
    let mut worker = process::Builder::new().memory_limit(limits.memory);
    if config.sandbox {
        worker = worker.sandbox(Sandbox::deny_all());
    }
    Pool::builder(config.kind)
        .workers(config.handlers)
        .name("handler")
        .initializer(handlers::prepare)
        .timeout(limits.request_time)
        .queue_limit(limits.queue)
        .recycle_above(limits.recycle_above)
        .process(worker)
        .build()
}

async fn serve(start: Start, context: Context, pool: Pool) -> io::Result<()> {
    let limits = start.config.limits.clone();
    // In a thread the others have the same socket, and each registers it with its own epoll.
    let listener = TcpListener::from_std(start.listener.0.try_clone()?)?;
    let (phase, _) = watch::channel(Phase::Serving);
    let room = Arc::new(Semaphore::new(limits.connections));
    let service = Service::new(&start, pool, phase.subscribe(), Arc::clone(&room))?;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .max_header_size(limits.head)
        .max_headers(limits.headers)
        .max_buf_size(limits.head.max(64 << 10))
        // A client may say that it sends no more, and still read.
        .half_close(true)
        .header_read_timeout(limits.head_time);
    let connections = Connections {
        http,
        service,
        phase,
        room,
        limit: u32::try_from(limits.connections).unwrap_or(u32::MAX),
        write_time: limits.write_time,
    };

    let mut stop = tokio::task::spawn_blocking({
        let context = context.clone();
        move || context.wait_for_stop()
    });
    context.ready();
    loop {
        let accepted = async {
            // At the limit none is accepted: they wait in the backlog, and for other fronts.
            let room = Arc::clone(&connections.room).acquire_owned().await;
            let room = room.expect("it is never closed");
            (listener.accept().await, room)
        };
        tokio::select! {
            (accepted, room) = accepted => match accepted {
                Ok((stream, _)) => connections.open(stream, room),
                Err(e) if is_of_one_connection(&e) => {}
                Err(e) => {
                    tracing::warn!("cannot accept: {e}");
                    tokio::time::sleep(NO_ROOM).await;
                }
            },
            _ = &mut stop => break,
        }
    }

    tracing::info!("a front of generation {} accepts no more", start.generation);
    let is_last = start.is_last.load(Ordering::SeqCst) != 0;
    if is_last {
        // No other front will accept what has come already.
        while let Ok(room) = Arc::clone(&connections.room).try_acquire_owned() {
            match start.listener.0.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    connections.open(TcpStream::from_std(stream)?, room);
                }
                Err(_) => break,
            }
        }
    }
    drop(listener);
    let idle = if is_last {
        Duration::ZERO
    } else {
        limits.drain
    };
    connections
        .finish(idle, limits.body_time + limits.request_time)
        .await;
    Ok(())
}

/// accept(2): an error of a connection that is gone again.
fn is_of_one_connection(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

struct Connections {
    http: http1::Builder,
    service: Service,
    phase: watch::Sender<Phase>,
    /// A permit for each connection that there may be.
    room: Arc<Semaphore>,
    limit: u32,
    write_time: Duration,
}

impl Connections {
    fn open(&self, stream: TcpStream, room: OwnedSemaphorePermit) {
        // Of no use to a response that is written at once, and costs 40 ms where it is not.
        drop(stream.set_nodelay(true));
        let io = TokioIo::new(Client::new(stream, self.write_time));
        let connection = self.http.serve_connection(io, self.service.clone());
        let mut phase = self.phase.subscribe();
        tokio::spawn(async move {
            let _room = room;
            let mut connection = std::pin::pin!(connection);
            let closing = async { drop(phase.wait_for(|phase| *phase == Phase::Closing).await) };
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = closing => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(e) = ended {
                tracing::debug!("a connection: {e}");
            }
        });
    }

    /// Serves idle connections for a time, and then those that have a request for another.
    async fn finish(self, idle: Duration, busy: Duration) {
        let deadline = Instant::now() + idle;
        self.phase.send_replace(Phase::Draining);
        if timeout_at(deadline, self.room.acquire_many(self.limit))
            .await
            .is_ok()
        {
            return;
        }
        self.phase.send_replace(Phase::Closing);
        if timeout_at(deadline + busy, self.room.acquire_many(self.limit))
            .await
            .is_err()
        {
            let left = self.limit as usize - self.room.available_permits();
            tracing::warn!("{left} connections did not end in time");
        }
    }
}

//! The program itself: it holds the listening socket, keeps the fronts running, and hears signals.
//! It never reads a byte that a client has sent.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use brigade::supervise::{Child, Handle, Report, Shutdown, Strategy, Supervisor};
use brigade::{Descriptor, Shared};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::config::Config;
use crate::front;

/// How long a front has for its start: its pool's workers are started in it.
const START: Duration = Duration::from_secs(20);
/// What a front has beyond its own times, to end by itself.
const MARGIN: Duration = Duration::from_secs(5);

/// The socket that all fronts accept from. One that dies takes no connection along that none has
/// accepted: they wait in the socket's one backlog.
#[derive(Clone, Debug)]
pub(crate) struct Listener(pub(crate) Arc<TcpListener>);

impl Serialize for Listener {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Descriptor(&*self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Listener {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Listener, D::Error> {
        let Descriptor(listener) = Descriptor::<TcpListener>::deserialize(deserializer)?;
        Ok(Listener(Arc::new(listener)))
    }
}

/// What reaches the program from outside.
enum Event {
    Signal(i32),
    Ended(Report),
}

/// Serves until a signal says to stop.
pub(crate) fn run(config: Config) -> Result<(), String> {
    let listener = listen(config.listen).map_err(|e| format!("{}: {e}", config.listen))?;
    let address = listener.0.local_addr().map_err(|e| e.to_string())?;
    let (events, heard) = mpsc::channel();
    let signals = events.clone();
    let mut hooks = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])
        .map_err(|e| format!("signals: {e}"))?;
    std::thread::spawn(move || {
        hooks
            .forever()
            .all(|signal| signals.send(Event::Signal(signal)).is_ok())
    });

    let mut serving = Generation::new(1, config, listener);
    // A front that cannot be kept running is a fault that a restart of the program must cure.
    let running = Supervisor::new(Strategy::OneForOne)
        .name("fronts")
        .intensity(10, Duration::from_secs(60))
        .start()
        .map_err(|e| e.to_string())?;
    serving.start(&running)?;
    let handle = running.handle();
    std::thread::spawn(move || events.send(Event::Ended(handle.join())));
    // For whoever started it with port 0.
    println!("listening on {address}");

    let mut is_stopping = false;
    for event in heard {
        match event {
            Event::Ended(report) if is_stopping => {
                tracing::info!("stopped");
                return match report.left_running() {
                    [] => Ok(()),
                    left => Err(format!("{} fronts did not stop in time", left.len())),
                };
            }
            Event::Ended(report) => {
                return Err(format!("the fronts cannot be kept running: {report}"));
            }
            Event::Signal(SIGHUP) if !is_stopping => match serving.next() {
                Ok(next) => serving = serving.replace_by(next, &running),
                Err(why) => tracing::error!("not reloaded: {why}"),
            },
            Event::Signal(SIGHUP) => {}
            Event::Signal(_) if is_stopping => {
                tracing::warn!("told again: stopping at once");
                let handle = running.handle();
                std::thread::spawn(move || handle.abort());
            }
            Event::Signal(_) => {
                is_stopping = true;
                tracing::info!("stopping: requests are finished first");
                serving.is_last.store(1, Ordering::SeqCst);
                // All at once: a supervisor ends its children one after another, and a slow client
                // of one front would keep the others accepting.
                let fronts = serving.stop(running.handle());
                let handle = running.handle();
                std::thread::spawn(move || {
                    for front in fronts {
                        drop(front.join());
                    }
                    handle.shutdown()
                });
            }
        }
    }
    Ok(())
}

/// The fronts of one reading of the configuration.
struct Generation {
    number: u32,
    config: Config,
    listener: Listener,
    /// Set when the program stops: then idle connections are closed, and not served on.
    is_last: Shared<AtomicU32>,
}

impl Generation {
    fn new(number: u32, config: Config, listener: Listener) -> Generation {
        let is_last = Shared::new(AtomicU32::new(0)).expect("a page of memory");
        Generation {
            number,
            config,
            listener,
            is_last,
        }
    }

    fn names(&self) -> impl Iterator<Item = String> {
        let number = self.number;
        (0..self.config.fronts).map(move |index| format!("front-{number}.{index}"))
    }

    /// Starts its fronts, and returns when each accepts connections.
    fn start(&self, supervisor: &Handle) -> Result<(), String> {
        for name in self.names() {
            let input = front::Start {
                listener: self.listener.clone(),
                config: self.config.clone(),
                generation: self.number,
                is_last: self.is_last.clone(),
            };
            let limits = &self.config.limits;
            let grace = limits.drain + limits.body_time + limits.request_time + MARGIN;
            let child = Child::new(self.config.kind, &name, front::run, input)
                .ready_within(START)
                .shutdown(Shutdown::Grace(grace));
            (supervisor.start_child(child)).map_err(|e| format!("{name}: {e}"))?;
        }
        Ok(())
    }

    fn next(&self) -> Result<Generation, String> {
        let config = self.config.reload()?;
        if config.listen != self.config.listen {
            tracing::warn!(
                "still listening at {}: a restart changes it",
                self.config.listen
            );
        }
        let listener = self.listener.clone();
        Ok(Generation::new(self.number + 1, config, listener))
    }

    /// The next one accepts before this one stops to. Returns the one that serves from now on.
    fn replace_by(self, next: Generation, supervisor: &Handle) -> Generation {
        if let Err(why) = next.start(supervisor) {
            tracing::error!("not reloaded: {why}");
            drop(next.stop(supervisor.clone()));
            return self;
        }
        tracing::info!("reloaded: generation {} serves", next.number);
        drop(self.stop(supervisor.clone()));
        next
    }

    /// In the background: its fronts serve the connections that they have for a while.
    fn stop(&self, supervisor: Handle) -> Vec<std::thread::JoinHandle<()>> {
        let stop = |name: String| {
            let supervisor = supervisor.clone();
            std::thread::spawn(move || {
                // Either fails for a front that has failed to start, or when the program stops.
                if supervisor.terminate_child(&name).is_ok() {
                    drop(supervisor.delete_child(&name));
                }
            })
        };
        self.names().map(stop).collect()
    }
}

/// The socket that a service manager has passed, or a new one.
fn listen(address: SocketAddr) -> io::Result<Listener> {
    let passed = listenfd::ListenFd::from_env().take_tcp_listener(0)?;
    let listener = match passed {
        Some(listener) => listener,
        None => TcpListener::bind(address)?,
    };
    listener.set_nonblocking(true)?;
    Ok(Listener(Arc::new(listener)))
}

//! Worker programs: this program, started again.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use brigade_cluster::{Served, Settings, Worker};
use brigade_test_support::wait::LIMIT;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::server::until;

/// What a worker program tells at its end.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) ended: u64,
    pub(crate) lost: u64,
    pub(crate) refused: u64,
    pub(crate) given_back: u64,
    pub(crate) dead: u64,
}

/// What all tests have.
pub(crate) fn settings() -> Settings {
    Settings::default()
        .ack_wait(Duration::from_secs(1))
        .request_timeout(Duration::from_secs(2))
}

/// `program --worker URL APP WORKERS [BUILD [ATTEMPTS]]`: what `main` is then.
pub(crate) fn main(arguments: &[String]) {
    let [url, app, workers, more @ ..] = arguments else {
        panic!("{arguments:?}");
    };
    let (build, attempts) = (more.first(), more.get(1));
    let pool = brigade::Pool::processes(workers.parse().expect("a number")).expect("a pool");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    // Its end is that of stdin: a test that dies leaves no worker behind.
    let (told, stop) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = told.send(());
    });
    let stop = async {
        let _ = stop.await;
    };
    let mut settings = settings();
    if let Some(attempts) = attempts {
        let attempts = attempts.parse().expect("a number");
        settings = settings.attempts(attempts).patience(LIMIT);
    }
    let served = runtime.block_on(async {
        let mut stop = std::pin::pin!(stop);
        loop {
            let mut worker = Worker::new(url, app, pool.clone()).settings(settings.clone());
            if let Some(build) = build {
                worker = worker.build(build);
            }
            match worker.run_until(&mut stop).await {
                // Where servers are killed there may be none at the moment.
                Err(_) if attempts.is_some() => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                served => return served,
            }
        }
    });
    print(served.expect("it serves"));
}

/// `program --serve URL APP`: what a program of the user's does.
pub(crate) fn serve(arguments: &[String]) {
    let [url, app] = arguments else {
        panic!("{arguments:?}");
    };
    let pool = brigade::Pool::processes(1).expect("a pool");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let served = runtime.block_on(brigade_cluster::serve(url, app, pool));
    print(served.expect("it serves"));
}

fn print(served: Served) {
    let told = Told {
        ended: served.ended(),
        lost: served.lost(),
        refused: served.refused(),
        given_back: served.given_back(),
        dead: served.dead(),
    };
    println!("{}", serde_json::to_string(&told).expect("JSON"));
}

pub(crate) struct Program(Child);

impl Program {
    pub(crate) fn start(url: &str, app: &str, workers: usize) -> Program {
        Program::start_with(&["--worker", url, app, &workers.to_string()])
    }

    /// One of a build that has a name.
    pub(crate) fn start_build(url: &str, app: &str, build: &str) -> Program {
        Program::start_with(&["--worker", url, app, "1", build])
    }

    /// One for chaos: its tasks are begun as often as it takes.
    pub(crate) fn start_chaos(url: &str, workers: &str) -> Program {
        Program::start_with(&["--worker", url, "app", workers, "chaos", "1000000"])
    }

    /// One that stops by a signal, and has one worker process.
    pub(crate) fn start_serving(url: &str, app: &str) -> Program {
        Program::start_with(&["--serve", url, app])
    }

    /// One with this in its environment, and one worker process.
    pub(crate) fn start_at(url: &str, app: &str, environment: &[(&str, String)]) -> Program {
        Program::start_in(&["--worker", url, app, "1"], environment)
    }

    fn start_with(arguments: &[&str]) -> Program {
        Program::start_in(arguments, &[])
    }

    fn start_in(arguments: &[&str], environment: &[(&str, String)]) -> Program {
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        Program(child.expect("the worker starts"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    fn send(&self, signal: Signal) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, signal).expect("it is there");
    }

    pub(crate) fn kill(mut self) {
        self.0.kill().expect("it is there");
        self.0.wait().expect("it is a child");
    }

    pub(crate) fn terminate(&self) {
        self.send(Signal::TERM);
    }

    pub(crate) fn pause(&self) {
        self.send(Signal::STOP);
    }

    pub(crate) fn go_on(&self) {
        self.send(Signal::CONT);
    }

    /// Tells it to stop, and gives what it has done.
    pub(crate) fn stop(mut self) -> Told {
        drop(self.0.stdin.take());
        let status = until("the worker drains", || {
            self.0.try_wait().expect("it is a child")
        });
        assert!(status.success(), "{status}");
        let mut text = String::new();
        let mut stdout = self.0.stdout.take().expect("a pipe");
        stdout.read_to_string(&mut text).expect("text");
        serde_json::from_str(&text).expect("what it has done")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A future with a limit that only a hang exceeds.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(LIMIT, future).await;
    ended.unwrap_or_else(|_| panic!("not in {LIMIT:?}"))
}

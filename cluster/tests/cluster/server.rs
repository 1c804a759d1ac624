//! A nats-server of the test's own: on a free port of loopback, with its data in a directory of its
//! own, ended with the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use brigade_test_support::wait;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The program, or why there is none.
pub(crate) fn program() -> &'static Result<PathBuf, String> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/nats-server");
        let ran = Command::new(&script).stderr(Stdio::piped()).output();
        let ran = ran.map_err(|e| format!("{}: {e}", script.display()))?;
        if !ran.status.success() {
            return Err(String::from_utf8_lossy(&ran.stderr).trim().to_owned());
        }
        Ok(PathBuf::from(String::from_utf8_lossy(&ran.stdout).trim()))
    })
}

pub(crate) struct Server {
    dir: TempDir,
    child: Option<Child>,
    port: u16,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Server {
    /// The configuration of the durable profile.
    pub(crate) const DURABLE: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/durable.conf");

    pub(crate) fn start() -> Server {
        Server::start_with(&[], &[])
    }

    /// One with more arguments, and this in its environment.
    pub(crate) fn start_with(arguments: &[&str], environment: &[(String, String)]) -> Server {
        let mut server = Server {
            dir: tempfile::tempdir().expect("a directory"),
            child: None,
            port: 0,
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            environment: environment.to_vec(),
        };
        server.restart();
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Three of one cluster, which write to disk at once: the durable profile. They tell programs
    /// to connect to these ports, if there are any.
    pub(crate) fn start_three(advertised: Option<[u16; 3]>) -> [Server; 3] {
        Server::start_cluster(advertised, &["--config", Server::DURABLE])
    }

    /// Three of one cluster, which write to disk when the system does.
    pub(crate) fn start_three_lazy() -> [Server; 3] {
        Server::start_cluster(None, &[])
    }

    fn start_cluster(advertised: Option<[u16; 3]>, more: &[&str]) -> [Server; 3] {
        // Free ones; somebody else may take one meanwhile, and then a server ends at once.
        let listen = || std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let listeners = [listen(), listen(), listen()];
        let ports = listeners
            .each_ref()
            .map(|at| at.local_addr().expect("its own").port());
        drop(listeners);
        let routes = ports.map(|port| format!("nats://127.0.0.1:{port}"));
        let all = routes.join(",");
        let start = |number: usize| {
            let name = format!("server-{number}");
            let mut arguments = more.to_vec();
            arguments.extend(["--server_name", &name]);
            arguments.extend(["--cluster_name", "three", "--cluster", &routes[number]]);
            arguments.extend(["--routes", &all]);
            let advertised = advertised.map(|ports| format!("127.0.0.1:{}", ports[number]));
            if let Some(advertised) = &advertised {
                arguments.extend(["--client_advertise", advertised]);
            }
            Server::start_with(&arguments, &[])
        };
        [start(0), start(1), start(2)]
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Stops it, all of its threads: it answers nothing, and its connections stay.
    pub(crate) fn pause(&self) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), Signal::STOP).expect("it is there");
        let threads = format!("/proc/{}/task", child.id());
        until("the server is stopped", || {
            let all = fs::read_dir(&threads).expect("its threads").flatten();
            let is_stopped = |thread: fs::DirEntry| {
                let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                stat.rsplit_once(") ")
                    .is_some_and(|(_, rest)| rest.starts_with('T'))
            };
            all.into_iter().all(is_stopped).then_some(())
        });
    }

    pub(crate) fn go_on(&self) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), Signal::CONT).expect("it is there");
    }

    /// Ends it, without warning.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Removes its data, where it is not running.
    pub(crate) fn wipe(&self) {
        assert!(self.child.is_none(), "it is running");
        fs::remove_dir_all(self.dir.path().join("data")).expect("it has data");
    }

    /// Starts it where it is not running: on its data, at its port.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "it is running");
        let program = program().as_ref().expect("a server");
        let port = if self.port == 0 {
            -1
        } else {
            i32::from(self.port)
        };
        let child = Command::new(program)
            .args(["--jetstream", "--addr", "127.0.0.1", "--port"])
            .arg(port.to_string())
            .arg("--store_dir")
            .arg(self.dir.path().join("data"))
            .arg("--ports_file_dir")
            .arg(self.dir.path())
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.dir.path().join("log")).expect("a file"))
            .spawn()
            .expect("the server starts");
        // It writes a file of this name when it listens, after its own name.
        let ports = format!("_{}.ports", child.id());
        self.child = Some(child);
        let dir = self.dir.path();
        let child = self.child.as_mut().expect("it was started");
        self.port = until("the server listens", || {
            if let Some(status) = child.try_wait().expect("it is a child") {
                let log = fs::read_to_string(dir.join("log"));
                panic!("the server has ended: {status}: {log:?}");
            }
            let mut files = fs::read_dir(dir).expect("a directory").flatten();
            let file = files.find(|file| file.file_name().to_string_lossy().ends_with(&ports))?;
            port_in(&file.path())
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn port_in(file: &Path) -> Option<u16> {
    let text = fs::read_to_string(file).ok()?;
    let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
    let url = ports.get("nats")?.get(0)?.as_str()?;
    url.rsplit(':').next()?.parse().ok()
}

/// Waits until there is something to be had.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    wait::until_found(what, || Ok(look())).expect("it comes about")
}

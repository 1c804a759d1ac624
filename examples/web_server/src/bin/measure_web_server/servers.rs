//! The servers that are measured, each with as many workers as there are processors.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::memory;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Brigade,
    BrigadeSandbox,
    BrigadeThreads,
    Nginx,
    ApachePrefork,
    ApacheWorker,
}

/// What a crash a second hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breaks {
    /// The worker that runs a request, by a request whose C code faults.
    Request,
    /// A process that accepts connections, by a SIGSEGV.
    Process,
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    program: Child,
    kind: Kind,
    /// What it runs.
    pub(crate) file: PathBuf,
    pub(crate) address: SocketAddr,
}

/// Whether a program is there.
pub(crate) fn is_installed(program: &str) -> bool {
    ["/usr/bin", "/usr/sbin", "/usr/local/bin"]
        .iter()
        .any(|dir| Path::new(dir).join(program).exists())
}

impl Kind {
    pub(crate) const ALL: [Kind; 6] = [
        Kind::Brigade,
        Kind::BrigadeSandbox,
        Kind::BrigadeThreads,
        Kind::Nginx,
        Kind::ApachePrefork,
        Kind::ApacheWorker,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Brigade => "this, processes",
            Kind::BrigadeSandbox => "this, processes in a sandbox",
            Kind::BrigadeThreads => "this, threads",
            Kind::Nginx => "nginx",
            Kind::ApachePrefork => "Apache, prefork",
            Kind::ApacheWorker => "Apache, worker",
        }
    }

    /// Starts it on `root/` in this directory. `None`: it is not installed.
    pub(crate) fn start(self, dir: &Path) -> io::Result<Option<Server>> {
        let port = free_port()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let root = dir.join("root");
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        let mut command = match self {
            Kind::Brigade | Kind::BrigadeSandbox | Kind::BrigadeThreads => {
                let beside = std::env::current_exe()?.with_file_name("web_server");
                let mut command = Command::new(beside);
                command.args(["--faults", "--listen", &address.to_string(), "--root"]);
                command.arg(root).env("RUST_LOG", "error");
                match self {
                    Kind::BrigadeSandbox => command.arg("--sandbox"),
                    Kind::BrigadeThreads => command.args(["--workers", "thread"]),
                    _ => &mut command,
                };
                command
            }
            Kind::Nginx if !is_installed("nginx") => return Ok(None),
            Kind::Nginx => {
                let file = dir.join("nginx.conf");
                fs::write(&file, nginx(dir, address, processors))?;
                let mut command = Command::new("nginx");
                command.arg("-c").arg(file).arg("-p").arg(dir);
                command.arg("-e").arg(dir.join("nginx.log"));
                command
            }
            _ if !is_installed("apache2") => return Ok(None),
            Kind::ApachePrefork | Kind::ApacheWorker => {
                let file = dir.join("apache.conf");
                fs::write(&file, apache(dir, address, self))?;
                let mut command = Command::new("apache2");
                command.arg("-DFOREGROUND").arg("-f").arg(file);
                command
            }
        };
        // A group of its own: Apache ends all of its group when it ends.
        let program = command
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut server = Server {
            file: fs::read_link(format!("/proc/{}/exe", program.id()))?,
            program,
            kind: self,
            address,
        };
        server.wait_until_it_listens()?;
        Ok(Some(server))
    }
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.program.id()
    }

    fn wait_until_it_listens(&mut self) -> io::Result<()> {
        let start = Instant::now();
        loop {
            match TcpStream::connect(self.address) {
                Ok(_) => return Ok(()),
                Err(_) if start.elapsed() < Duration::from_secs(20) => {
                    if let Some(status) = self.program.try_wait()? {
                        return Err(io::Error::other(format!("it has ended: {status}")));
                    }
                    std::thread::park_timeout(Duration::from_millis(20));
                }
                Err(e) => return Err(e),
            }
        }
    }

    pub(crate) fn break_one(&self, breaks: Breaks, turn: usize) {
        match breaks {
            Breaks::Request => {
                let Ok(mut stream) = TcpStream::connect(self.address) else {
                    return;
                };
                let request = b"GET /fault/segv HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
                drop(stream.write_all(request));
                let mut answer = Vec::new();
                drop(stream.read_to_end(&mut answer));
                if !answer.starts_with(b"HTTP/1.1 502") {
                    eprintln!("no 502: {}", String::from_utf8_lossy(&answer));
                }
            }
            Breaks::Process => {
                let all = memory::running(&self.file).into_iter();
                let accepting: Vec<u32> = all.filter(|pid| self.accepts(*pid)).collect();
                let Some(pid) = accepting.get(turn % accepting.len().max(1)) else {
                    return;
                };
                if let Some(pid) = Pid::from_raw(*pid as i32) {
                    let _ = kill_process(pid, Signal::SEGV);
                }
            }
        }
    }

    fn accepts(&self, pid: u32) -> bool {
        if pid == self.pid() {
            return false;
        }
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        match self.kind {
            Kind::Nginx => name.starts_with("nginx"),
            Kind::ApachePrefork | Kind::ApacheWorker => name.starts_with("apache2"),
            _ => name.starts_with("front-"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.pid() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let start = Instant::now();
        while matches!(self.program.try_wait(), Ok(None)) {
            if start.elapsed() > Duration::from_secs(20) {
                drop(self.program.kill());
                drop(self.program.wait());
                return;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn nginx(dir: &Path, address: SocketAddr, processors: usize) -> String {
    let dir = dir.display();
    format!(
        "daemon off;
worker_processes {processors};
pid {dir}/nginx.pid;
error_log {dir}/nginx.log crit;
events {{ worker_connections 4096; }}
http {{
  types {{ text/html html; text/plain txt; }}
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  server {{
    listen {address};
    root {dir}/root;
    location /gzip/ {{ gzip on; gzip_comp_level 6; gzip_types text/plain; }}
  }}
}}
"
    )
}

fn apache(dir: &Path, address: SocketAddr, kind: Kind) -> String {
    let dir = dir.display();
    let modules = "/usr/lib/apache2/modules";
    let mpm = match kind {
        Kind::ApachePrefork => {
            "LoadModule mpm_prefork_module MODULES/mod_mpm_prefork.so
StartServers 32
MinSpareServers 32
MaxSpareServers 64
MaxRequestWorkers 64
"
        }
        _ => {
            "LoadModule mpm_worker_module MODULES/mod_mpm_worker.so
StartServers 2
ThreadsPerChild 32
MaxRequestWorkers 64
"
        }
    };
    let user = if rustix::process::geteuid().is_root() {
        "User nobody\nGroup nogroup\n"
    } else {
        ""
    };
    let mpm = mpm.replace("MODULES", modules);
    format!(
        "{mpm}LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule mime_module {modules}/mod_mime.so
LoadModule filter_module {modules}/mod_filter.so
LoadModule deflate_module {modules}/mod_deflate.so
{user}ServerName localhost
Listen {address}
ServerRoot {dir}
DefaultRuntimeDir {dir}
PidFile {dir}/apache.pid
ErrorLog {dir}/apache.log
LogLevel crit
TypesConfig /dev/null
AddType text/html .html
AddType text/plain .txt
KeepAlive On
MaxKeepAliveRequests 0
DeflateCompressionLevel 6
DocumentRoot {dir}/root
<Location /gzip/>
  SetOutputFilter DEFLATE
</Location>
"
    )
}

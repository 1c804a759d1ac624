//! What runs in the environments, built in each way that one asks for.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

/// How the programs are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Build {
    /// As `cargo test` does it.
    Usual,
    /// static-pie.
    Static,
    /// At the address that the linker chose.
    StaticFixed,
    /// `panic = "abort"`.
    Abort,
    /// `-C instrument-coverage`.
    Coverage,
    /// As a release is shipped: optimized as a whole, without symbols and lines.
    Stripped,
}

/// The programs of a build, by the name that an environment calls them by.
pub(crate) type Programs = HashMap<String, PathBuf>;

impl Build {
    fn flags(self) -> Option<(&'static str, &'static str)> {
        match self {
            Build::Usual => None,
            Build::Static => Some(("static", "-C target-feature=+crt-static")),
            Build::StaticFixed => Some((
                "static-fixed",
                "-C target-feature=+crt-static -C relocation-model=static",
            )),
            Build::Abort => Some(("abort", "-C panic=abort")),
            Build::Coverage => Some(("coverage", "-C instrument-coverage")),
            Build::Stripped => Some(("stripped", "")),
        }
    }

    /// What is the profile's to say, as cargo's variables: it knows which kinds of libraries the
    /// compiler can optimize as a whole.
    fn profile(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Build::Stripped => &[
                ("CARGO_PROFILE_DEV_OPT_LEVEL", "3"),
                ("CARGO_PROFILE_DEV_LTO", "fat"),
                ("CARGO_PROFILE_DEV_CODEGEN_UNITS", "1"),
                ("CARGO_PROFILE_DEV_STRIP", "symbols"),
            ],
            _ => &[],
        }
    }

    /// Builds it, or finds that it is built: the test suites `suites`, and the checks.
    pub(crate) fn programs(self, target: &Path, suites: &[&str]) -> io::Result<Programs> {
        let mut programs = Programs::new();
        // A harness of tests cannot be built so by a stable compiler; or its tests look for names.
        if self != Build::Abort && self != Build::Stripped {
            let mut arguments = vec!["test", "-p", "brigade", "--no-run"];
            for suite in suites {
                arguments.extend(["--test", suite]);
            }
            self.cargo(target, &arguments, &mut programs)?;
        }
        let checks = ["build", "-p", "environments-checks"];
        self.cargo(target, &checks, &mut programs)?;
        Ok(programs)
    }

    fn cargo(self, target: &Path, arguments: &[&str], into: &mut Programs) -> io::Result<()> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(arguments)
            .args(["--quiet", "--message-format", "json-render-diagnostics"])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        if let Some((name, flags)) = self.flags() {
            // With a target, the flags are not those of build scripts and macros as well.
            cargo
                .arg(format!("--target={}", env!("ENVIRONMENTS_TARGET")))
                .env("CARGO_TARGET_DIR", target.join("environments").join(name))
                .env("RUSTFLAGS", flags)
                .envs(self.profile().iter().copied())
                // What a macro does while it is compiled is nobody's coverage.
                .env("LLVM_PROFILE_FILE", "/dev/null");
        }
        let output = cargo.output()?;
        if !output.status.success() {
            return Err(io::Error::other(format!(
                "cargo {arguments:?}: {}",
                output.status
            )));
        }
        for line in output.stdout.split(|&byte| byte == b'\n') {
            let Ok(message) = serde_json::from_slice::<Message>(line) else {
                continue;
            };
            message.collect(into);
        }
        Ok(())
    }
}

/// What cargo tells of something that it has built, or found built.
#[derive(Deserialize)]
struct Message {
    target: Target,
    filenames: Vec<PathBuf>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

impl Message {
    fn collect(self, into: &mut Programs) {
        if let Some(executable) = self.executable {
            into.insert(self.target.name, executable);
        } else if self.target.name == "environments_checks" {
            for file in self.filenames {
                match file.extension().and_then(|e| e.to_str()) {
                    Some("a") => into.insert("archive".to_owned(), file),
                    Some("so") => into.insert("library".to_owned(), file),
                    _ => None,
                };
            }
        }
    }
}

/// What is loaded before the program, by its name in `c/`.
pub(crate) const LIBRARIES: [&str; 4] = [
    "locked_memory",
    "not_dumpable",
    "thread_in_constructor",
    "threads_before_main",
];

/// Compiles what is in C: libraries to be loaded before the program, and two programs.
pub(crate) fn in_c(target: &Path, programs: &mut Programs) -> io::Result<()> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("c");
    let out = target.join("environments/c");
    std::fs::create_dir_all(&out)?;
    let libraries = LIBRARIES.map(|name| (name, ["-shared", "-fPIC"].as_slice()));
    let standing_alone = [("plugin", [].as_slice()), ("main", &[])];
    for (name, arguments) in libraries.into_iter().chain(standing_alone) {
        let made = out.join(name);
        let mut cc = Command::new("cc");
        cc.args(["-Wall", "-o"]).arg(&made);
        cc.arg(sources.join(name).with_extension("c"))
            .args(arguments);
        if name == "main" {
            let archive = programs.get("archive");
            cc.arg(archive.ok_or_else(|| io::Error::other("there is no static library"))?);
            // What Rust's standard library needs of the system's.
            cc.args([
                "-lgcc_s",
                "-lutil",
                "-lrt",
                "-lpthread",
                "-lm",
                "-ldl",
                "-lc",
            ]);
        }
        let status = cc.stdin(Stdio::null()).status()?;
        if !status.success() {
            return Err(io::Error::other(format!("cc of {name}.c: {status}")));
        }
        programs.insert(name.to_owned(), made);
    }
    Ok(())
}

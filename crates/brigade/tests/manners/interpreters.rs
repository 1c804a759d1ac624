//! A program that is not what the kernel has executed: processes are refused, by one sentence that
//! says what it is; threads work.

use std::ffi::{CStr, CString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use brigade::{process, thread};
use libtest_mimic::Trial;

use crate::hosts::{Host, double};
use crate::observe::{check, host};
use crate::trials::trial;

pub(crate) const HOSTS: &[(&str, Host)] = &[("refused", refused), ("loads-plugin", loads_plugin)];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_program_run_by_the_loader_is_told_so", || {
            let loader = Path::new("/lib64/ld-linux-x86-64.so.2");
            let loaders = [loader, Path::new("/lib/ld-linux-aarch64.so.1")];
            match loaders.into_iter().find(|loader| loader.exists()) {
                Some(loader) => is_told(loader, "the dynamic loader"),
                None => eprintln!("skipped, because this C library's loader is not known"),
            }
        }),
        trial("a_program_under_valgrind_is_told_so", || {
            is_told(Path::new("valgrind"), "valgrind")
        }),
        trial("an_emulated_program_is_told_so", || {
            let emulator = format!("qemu-{}-static", std::env::consts::ARCH);
            is_told(Path::new(&emulator), "qemu");
        }),
        trial("a_plugin_is_told_so", || {
            let Some(plugin) = plugin() else {
                eprintln!("skipped, because the plugin is not built: cargo build --examples");
                return;
            };
            let mut command = host("loads-plugin");
            let output = command.arg(plugin).output();
            says(&output.expect("starts"), "part of a shared library");
        }),
    ]
}

/// A shared library with Brigade in it, built with the examples.
fn plugin() -> Option<PathBuf> {
    let exe = std::env::current_exe().ok()?;
    let profile = exe.parent()?.parent()?;
    let plugin = profile.join("examples").join("libplugin.so");
    plugin.exists().then_some(plugin)
}

/// Runs the host that is refused by this.
fn is_told(interpreter: &Path, what: &str) {
    let exe = std::env::current_exe().expect("this program");
    let mut command = Command::new(interpreter);
    if what == "valgrind" {
        command.args(["-q", "--tool=none"]);
    }
    match command.arg(exe).args(["--host", "refused"]).output() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            eprintln!("skipped, because there is no {}", interpreter.display());
        }
        output => says(&output.expect("starts"), what),
    }
}

fn says(output: &Output, what: &str) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    check(what, output.clone());
    let line = text.lines().find(|line| line.starts_with("error: "));
    let line = line.unwrap_or_else(|| panic!("no error: {text}"));
    assert!(line.contains(what), "{line}");
    assert!(line.contains("threads work"), "{line}");
}

fn refused(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let error = process::spawn(double, 1).err().ok_or("it worked")?;
    if error.kind() != io::ErrorKind::Unsupported {
        return Err(error.into());
    }
    println!("error: {error}");
    match thread::spawn(double, 21)?.join()? {
        42 => Ok(()),
        other => Err(format!("21 doubled is {other}").into()),
    }
}

fn loads_plugin(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let path = CString::new(args.first().ok_or("which plugin?")?.as_str())?;
    // SAFETY: the plugin is ours (`examples/plugin.rs`), and its function has this type. It gives
    // a C string that stays.
    let error = unsafe {
        let plugin = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        if plugin.is_null() {
            return Err("the plugin cannot be loaded".into());
        }
        let function = libc::dlsym(plugin, c"brigade_plugin_try".as_ptr());
        if function.is_null() {
            return Err("the plugin lacks its function".into());
        }
        let function: extern "C" fn() -> *const libc::c_char = std::mem::transmute(function);
        CStr::from_ptr(function())
    };
    println!("error: {}", error.to_string_lossy());
    Ok(())
}

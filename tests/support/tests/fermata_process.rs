//! The process runner, played with a stand-in for the binary: a shell script that understands the same arguments.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use fermata_test_support::{Fermata, wait_for};
use tempfile::TempDir;

/// Serves `/readyz` from a file, on the port given by `--http-port`.
const SERVES: &str = r#"#!/bin/sh
echo "starting $*"
while [ $# -gt 0 ]; do
    case $1 in --http-port) port=$2 ;; --data) data=$2 ;; esac
    shift
done
mkdir -p "$data" && echo yes > "$data/readyz" && date +%s%N >> "$data/starts"
exec python3 -m http.server "$port" --bind 127.0.0.1 --directory "$data"
"#;

/// Starts a child that carries the data folder on its command line, as the broker of `fermata dev` does.
const LEAVES_A_CHILD: &str = r#"#!/bin/sh
for data; do :; done
sh -c 'while :; do sleep 1; done' child "$data" &
wait
"#;

fn script(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fermata");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    (folder, path)
}

#[tokio::test]
async fn a_killed_process_comes_back_on_its_ports_and_folder() {
    let (_folder, program) = script(SERVES);
    let mut fermata = Fermata::dev().program(program).start().await;
    let first = fermata.id().unwrap();
    let address = fermata.http_address();
    assert!(fermata.ended().is_none());
    fermata.kill();
    assert_eq!(fermata.id(), None);
    fermata.restart().await;
    assert_ne!(fermata.id().unwrap(), first);
    assert_eq!(fermata.http_address(), address);
    let starts = fermata.log().matches("starting dev --nats-port 0").count();
    assert_eq!(starts, 2, "{}", fermata.log());
    assert!(fermata.terminate().is_some());
    assert!(fermata.terminate().is_none());
}

#[tokio::test]
#[should_panic(expected = "no such broker")]
async fn one_that_ends_at_start_panics_with_its_log() {
    let (_folder, program) = script("#!/bin/sh\necho no such broker >&2\nexit 3\n");
    Fermata::dev().program(program).start().await;
}

#[tokio::test]
async fn what_a_killed_one_left_behind_ends_with_drop() {
    let (_folder, program) = script(LEAVES_A_CHILD);
    let mut fermata = Fermata::dev().program(program).spawn();
    let child = wait_for("child", Duration::from_secs(20), async || {
        let started = fs::read_dir("/proc").ok()?.flatten().find(|process| {
            fs::read_to_string(process.path().join("cmdline"))
                .is_ok_and(|text| text.contains("\0child\0") && text.contains("fermata-test-"))
        });
        started.map(|process| process.path())
    })
    .await;
    fermata.kill();
    assert!(child.exists());
    drop(fermata);
    wait_for("end of the child", Duration::from_secs(20), async || {
        (!child.exists()).then_some(())
    })
    .await;
}

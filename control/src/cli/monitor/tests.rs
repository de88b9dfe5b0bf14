use std::{sync::mpsc, time::SystemTime};

use super::*;
use crate::{
    api::{
        event::What,
        server::{self, Server},
    },
    daemon::events::Events,
};

fn problem(problem: &str) -> What {
    What::Problem {
        problem: problem.to_owned(),
    }
}

/// A pipe whose reader sees whole lines, and may go.
struct Pipe(mpsc::SyncSender<String>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let sent = self.0.send(text);
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
            .map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_is_coloured_on_a_terminal_only() {
    let event = Event::new(SystemTime::UNIX_EPOCH, problem("no route"));
    assert_eq!(
        line(&event, false, false),
        "1970-01-01T00:00:00.000Z no route"
    );
    assert_eq!(
        line(&event, false, true),
        "\u{1b}[2m1970-01-01T00:00:00.000Z\u{1b}[0m \u{1b}[33mno route\u{1b}[0m"
    );
    let json = line(&event, true, true);
    assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
}

#[test]
fn where_no_daemon_runs_the_exit_status_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let args = Args {
        json: false,
        reconnect: false,
    };
    let exit = monitor(&directory.path().join("none"), &args);
    assert_eq!(exit, Exit::Unreachable);
}

/// Follows a daemon that tells what `next` gives to each line that came; returns how that ended.
fn talk(mut next: impl FnMut(&str) -> Option<What>) -> End {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let events = Events::new();
    let (calls, _called) = tokio::sync::mpsc::channel(1);
    let server = Server::new(calls, events.clone());
    let _guard = runtime.enter();
    let listener = server::listen(&socket).unwrap();
    runtime.spawn(server::serve(listener, server.clone()));
    let (lines, shown) = mpsc::sync_channel(0);
    let follower = thread::spawn(move || follow(&socket, Pipe(lines), false, false));
    runtime.block_on(async {
        while server.is_idle() {
            tokio::task::yield_now().await;
        }
        events.tell(problem("0"));
        let mut shown = Some(shown);
        while let Some(lines) = &shown {
            match lines.try_recv() {
                Ok(line) => match next(&line) {
                    Some(what) => events.tell(what),
                    None => shown = None,
                },
                Err(mpsc::TryRecvError::Empty) => tokio::task::yield_now().await,
                Err(mpsc::TryRecvError::Disconnected) => break,
            }
        }
        // Somebody who has gone notices when there is something to say.
        while !follower.is_finished() {
            events.tell(problem("more"));
            tokio::task::yield_now().await;
        }
        server.drain().await;
        assert!(server.is_idle());
    });
    follower.join().unwrap().unwrap()
}

#[test]
fn what_happens_is_shown_until_the_daemon_ends() {
    let mut seen = String::new();
    let end = talk(|line| {
        seen += line;
        match seen.matches('\n').count() {
            1 => Some(problem("\u{1b}[2J")),
            2 => Some(What::Stopping),
            _ => None,
        }
    });
    assert!(matches!(end, End::Daemon));
    assert!(seen.contains(" \\u{1b}[2J\n"), "{seen}");
}

#[test]
fn a_reader_who_goes_ends_it_without_an_error() {
    assert!(matches!(talk(|_| None), End::Reader));
}

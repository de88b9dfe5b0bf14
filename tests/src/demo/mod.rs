//! The main job, to look at: two sites, a few links, one file that crosses all of them at once.
//!
//! Each link is measured alone first, then a stream crosses all of them, of which one is cut and
//! restored on the way, and another has half of its rate for a while. All of it is the same crossing, once with one link and once with four,
//! so that the figures compare like with like.

mod board;
mod crossing;
pub mod figures;
mod gateways;
mod paint;
pub mod plan;
mod plot;
mod probe;
mod screen;
mod stage;
mod units;
mod wire;
mod words;

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use withy::config::SplitPolicy;

pub use self::probe::probe;
use self::{
    board::Board,
    crossing::{Crossed, Crossing, News},
    figures::{Figures, HalvedFigures, LinkFigures, Verdict},
    paint::Look,
    plan::Script,
    screen::Screen,
    units::share,
};
use crate::{profiles::Profile, site_config::TunnelSpec};

/// The longest silence before it must be assumed that something hangs. Gateways get three minutes
/// to start.
const PATIENCE: Duration = Duration::from_mins(4);

/// Timers that are later than this make links faster, slower and jittery: figures then tell more
/// about the machine than about anything else.
const BUSY: Duration = Duration::from_millis(5);

/// What the caller chooses.
#[derive(Clone, Debug)]
pub struct Options {
    /// The links.
    pub profile: Profile,
    /// One JSON object on standard output, everything else on standard error.
    pub json: bool,
    /// How long the transfer through the tunnel takes.
    pub duration: Duration,
    /// The tunnels' split policy.
    pub split: SplitPolicy,
    /// The columns of the terminal that the display goes to, if it goes to one.
    pub terminal: Option<usize>,
    /// Whether there may be colours.
    pub colour: bool,
    /// Where to draw what the links carried over time, if anywhere.
    pub plot: Option<PathBuf>,
}

/// Shows everything and judges it.
pub fn run(options: &Options) -> Result<Verdict> {
    let out: Box<dyn Write> = if options.json {
        Box::new(io::stderr())
    } else {
        Box::new(io::stdout())
    };
    let look = Look {
        width: options.terminal.unwrap_or(80),
        limited: options.terminal.is_some(),
        colour: options.colour,
    };
    let mut screen = Screen::new(out, look, options.terminal.is_some());
    screen.say(&words::picture(&options.profile.links, look))?;
    let alone = alone(options, &mut screen)?;
    let bonded = bonded(options, &mut screen)?;
    if let Some(file) = &options.plot {
        let script = Script::bonded(options.duration, &options.profile.links);
        plot::draw(&options.profile.links, &script, &bonded.samples, file)?;
    }
    let figures = figures(&options.profile, &alone, &bonded)?;
    conclude(&figures, &bonded, &mut screen)?;
    let lateness = alone
        .iter()
        .chain([&bonded])
        .map(|crossed| crossed.lateness)
        .max();
    if let Some(lateness) = lateness.filter(|&lateness| lateness > BUSY) {
        screen.say(&words::busy(lateness, look))?;
    }
    if options.json {
        println!("{}", figures.json()?);
    }
    Ok(figures.verdict())
}

/// Each link alone: tunnels side by side, with a link each.
fn alone(options: &Options, screen: &mut Screen) -> Result<Vec<Crossed>> {
    let script = Script::alone();
    let links: Vec<_> = options
        .profile
        .links
        .iter()
        .map(|link| vec![link.clone()])
        .collect();
    let board = Board::new(
        "1. Each link alone, in a tunnel of its own",
        "sum",
        script.duration,
        &links,
    );
    let crossings = links
        .into_iter()
        .map(|links| Crossing {
            links,
            script: script.clone(),
            tunnel: tunnel(options),
        })
        .collect();
    watch(crossings, board, screen)
}

/// All links at once.
fn bonded(options: &Options, screen: &mut Screen) -> Result<Crossed> {
    let links = options.profile.links.clone();
    let script = Script::bonded(options.duration, &links);
    let board = Board::new(
        "2. One file, one TCP stream, one tunnel over all links",
        "tunnel",
        script.duration,
        std::slice::from_ref(&links),
    );
    let crossing = Crossing {
        links,
        script,
        tunnel: tunnel(options),
    };
    let crossed = watch(vec![crossing], board, screen)?;
    crossed
        .into_iter()
        .next()
        .context("the transfer has no result")
}

fn tunnel(options: &Options) -> TunnelSpec {
    TunnelSpec {
        split: options.split,
        ..TunnelSpec::default()
    }
}

/// Runs transfers side by side and shows them.
fn watch(crossings: Vec<Crossing>, mut board: Board, screen: &mut Screen) -> Result<Vec<Crossed>> {
    let count = crossings.len();
    screen.say("")?;
    let (post, inbox) = channel();
    let mut starters = Vec::new();
    for (number, crossing) in crossings.into_iter().enumerate() {
        let post = post.clone();
        // Nobody listens any more if another transfer has failed.
        starters.push(crossing.begin(move |news| drop(post.send((number, news))))?);
    }
    drop(post);
    screen.wait(&format!("  starting {} gateways ...", count * 2))?;
    let mut crossed: Vec<Option<Crossed>> = (0..count).map(|_| None).collect();
    let mut ready = 0;
    while let Some((number, news)) = next(&inbox)? {
        match news {
            News::Ready => {
                ready += 1;
                if ready == count {
                    for starter in &starters {
                        starter
                            .send(())
                            .ok()
                            .context("a transfer has ended early")?;
                    }
                }
            }
            News::Sample(sample) => {
                board.update(number, sample);
                screen.show(&board)?;
            }
            News::Changed(change) => board.changed(number, change),
            News::Done(result) => crossed[number] = Some(*result?),
        }
    }
    screen.leave(&board)?;
    crossed
        .into_iter()
        .map(|crossed| crossed.context("a transfer broke off"))
        .collect()
}

/// The next news, until every transfer is over.
fn next(inbox: &Receiver<(usize, News)>) -> Result<Option<(usize, News)>> {
    match inbox.recv_timeout(PATIENCE) {
        Ok(news) => Ok(Some(news)),
        Err(RecvTimeoutError::Disconnected) => Ok(None),
        Err(RecvTimeoutError::Timeout) => bail!("nothing has happened for {PATIENCE:?}"),
    }
}

fn figures(profile: &Profile, alone: &[Crossed], bonded: &Crossed) -> Result<Figures> {
    let all = bonded.steady_links.iter().sum();
    let links = profile.links.iter().zip(alone).zip(&bonded.steady_links);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("no kernel release")?;
    Ok(Figures {
        kernel: kernel.trim().to_owned(),
        engine: bonded.status.engine.clone(),
        engine_reason: bonded.status.engine_reason.clone(),
        profile: profile.name.clone(),
        links: links
            .map(|((link, alone), &bytes)| LinkFigures {
                link: link.clone(),
                alone_bps: alone.steady_bps,
                share: share(bytes, all),
            })
            .collect(),
        tunnel_bps: bonded.steady_bps,
        halved: bonded.halved.as_ref().map(|halved| HalvedFigures {
            link: halved.link,
            tunnel_bps: halved.bps,
            share: share(halved.links[halved.link], halved.links.iter().sum()),
        }),
        contents_equal: alone
            .iter()
            .chain([bonded])
            .all(|crossed| crossed.report.contents_equal()),
        longest_gap: bonded.report.longest_gap(),
    })
}

fn conclude(figures: &Figures, bonded: &Crossed, screen: &mut Screen) -> Result<()> {
    let look = screen.look();
    screen.say(&format!("\n{}", words::status(&bonded.shown, look)))?;
    screen.say(&format!("\n{}", words::heading(figures, look)))?;
    screen.say(&words::table(figures, look))?;
    screen.say(&words::method(look))?;
    if let Some(conduct) = &bonded.conduct {
        screen.say(&words::links_kept_time(conduct, look))?;
    }
    screen.say(&format!("\n{}", words::verdict(figures, bonded, look)))
}

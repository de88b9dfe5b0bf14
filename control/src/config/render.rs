//! Reports for people, with the lines of the file.

use annotate_snippets::{
    AnnotationKind, Group, Level, Origin, Renderer, Snippet, renderer::DecorStyle,
};

use super::report::{Diagnostic, Report, Severity};
use crate::terminal;

/// Whether a rendering may use the terminal's colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// With ANSI escapes, for terminals.
    Always,
    /// Plain text.
    Never,
}

impl Report {
    /// Renders the findings as a compiler would: message, line of the file with the place
    /// marked, advice. Ends with a line break unless it is empty.
    #[must_use]
    pub fn render(&self, colour: Colour) -> String {
        let renderer = match colour {
            Colour::Always => Renderer::styled(),
            Colour::Never => Renderer::plain(),
        };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let parts = self
            .diagnostics()
            .iter()
            .map(|d| self.render_one(&renderer, d));
        parts.collect::<Vec<_>>().join("\n")
    }

    fn render_one(&self, renderer: &Renderer, diagnostic: &Diagnostic) -> String {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = if diagnostic.field.is_empty() {
            diagnostic.message.clone()
        } else {
            format!("{}: {}", diagnostic.field, diagnostic.message)
        };
        let group = self.place(diagnostic, level.primary_title(title));
        let group = match &diagnostic.help {
            Some(help) => group.element(Level::HELP.message(help.clone())),
            None => group,
        };
        renderer.render(&[group]) + "\n"
    }

    fn place<'a>(
        &'a self,
        diagnostic: &Diagnostic,
        title: annotate_snippets::Title<'a>,
    ) -> Group<'a> {
        let Some(position) = diagnostic.position else {
            return title.element(Origin::path(self.file()));
        };
        let Some(line) = self.line(position.line) else {
            let origin = Origin::path(self.file()).line(position.line);
            return title.element(origin.char_column(position.column));
        };
        let line = line.replace(terminal::steers_beyond_ascii, "\u{fffd}");
        let byte = |chars: usize| {
            line.char_indices()
                .nth(chars)
                .map_or(line.len(), |(at, _)| at)
        };
        let start = byte(position.column.saturating_sub(1));
        let end = byte((position.column.saturating_sub(1)).saturating_add(position.width));
        let mark = AnnotationKind::Primary.span(start..end);
        title.element(
            Snippet::source(line)
                .line_start(position.line)
                .path(self.file())
                .annotation(mark),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    #[test]
    fn the_place_is_marked_in_its_line() {
        let report = parse("gateway: 5\n", "x.yaml", Path::new(".")).expect_err("not a mapping");
        let text = report.render(Colour::Never);
        let expected = "error: gateway: a number where a mapping is needed\n \
            --> x.yaml:1:10\n  |\n1 | gateway: 5\n  |          ^\n  |\n  = help: ";
        assert!(text.contains(expected), "{text}");
        assert!(text.ends_with('\n') && !text.contains('\u{1b}'));
        assert!(report.render(Colour::Always).contains('\u{1b}'));
    }

    #[test]
    fn the_line_does_not_steer_the_terminal() {
        for number in (0x01..0x20).chain(0x7f..0xa0) {
            let character = char::from(number);
            let text = format!("gateway: \"a{character}[31mb\"\n");
            let report = parse(&text, "x.yaml", Path::new(".")).expect_err("incomplete");
            let shown = report.render(Colour::Never).replace('\n', "");
            assert!(!shown.contains(char::is_control), "{shown:?}");
        }
    }
}

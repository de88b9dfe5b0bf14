//! Pictures as SVG: what all of them have.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::{coord::Shift, prelude::*};

/// A picture that is being drawn.
pub(crate) type Area<'f> = DrawingArea<SVGBackend<'f>, Shift>;

/// Begins a white picture of so many pixels, in a file whose folder must be there.
pub(crate) fn begin(file: &Path, size: (u32, u32)) -> Result<Area<'_>> {
    let area = SVGBackend::new(file, size).into_drawing_area();
    area.fill(&WHITE).map_err(drawing)?;
    Ok(area)
}

/// Writes the file.
pub(crate) fn finish(area: &Area<'_>, file: &Path) -> Result<()> {
    area.present()
        .map_err(drawing)
        .with_context(|| format!("cannot write {}", file.display()))
}

/// The library's errors.
pub(crate) fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

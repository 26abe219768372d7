//! Writes SVG elements. Colours are classes, so that a picture follows the reader's light or dark mode.

use std::fmt::{Display, Write};

/// Width of every picture: what GitHub shows without scaling.
pub(super) const WIDTH: f64 = 840.0;

/// The styles of all pictures. The three data colours are of the palette by Okabe and Ito, which people who cannot tell red from
/// green can tell apart; shapes differ too.
const STYLE: &str = "\
text{font:14px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2328}\
.title{font-size:17px;font-weight:600}.note{fill:#59636e;font-size:13px}.strong{font-weight:600}\
.page{fill:#fff;stroke:#d1d9e0}.grid{stroke:#d1d9e0}.band{fill:#f6f8fa}\
.range{stroke:#818b98;stroke-width:2}\
.p50{fill:#0072b2}.p99{fill:#e69f00;stroke:#7a5500}.p999{fill:#d55e00}\
.good{fill:#cfe8f7}.fair{fill:#fff3cf}.poor{fill:#fbdcb4}.bad{fill:#f0b08f}\
@media (prefers-color-scheme:dark){text{fill:#f0f6fc}.note{fill:#9198a1}.page{fill:#0d1117;stroke:#3d444d}\
.grid{stroke:#3d444d}.band{fill:#161b22}.range{stroke:#656c76}.p50{fill:#56b4e9}.p99{fill:#f0c040;stroke:none}.p999{fill:#ff7f2a}\
.good{fill:#0b3a57}.fair{fill:#4a3f10}.poor{fill:#6b4308}.bad{fill:#7a2a0a}}";

/// A picture.
pub(super) struct Svg {
    height: f64,
    title: String,
    body: String,
}

/// Where a text stands relative to its position.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// An empty picture. The title is for readers that see no pictures.
    pub(super) fn new(height: f64, title: &str) -> Self {
        Self {
            height,
            title: escaped(title),
            body: String::new(),
        }
    }

    /// Adds a text whose base line is at `y`.
    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, text: impl Display) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(&text.to_string());
        self.add(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" class="{class}">{text}</text>"#
        ));
    }

    /// Adds a line.
    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
        self.add(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{class}"/>"#
        ));
    }

    /// Adds a rectangle.
    pub(super) fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), class: &str) {
        self.add(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="3" class="{class}"/>"#
        ));
    }

    /// Adds the mark of the first, second or third quantity: a circle, a square, a diamond.
    pub(super) fn mark(&mut self, (x, y): (f64, f64), quantity: usize) {
        match quantity {
            0 => self.add(format_args!(
                r#"<circle cx="{x:.1}" cy="{y:.1}" r="6" class="p50"/>"#
            )),
            1 => {
                let (left, top) = (x - 5.5, y - 5.5);
                self.add(format_args!(
                    r#"<rect x="{left:.1}" y="{top:.1}" width="11" height="11" class="p99"/>"#
                ));
            }
            _ => self.add(format_args!(
                r#"<path d="M{x:.1} {:.1}l7.5 7.5l-7.5 7.5l-7.5 -7.5z" class="p999"/>"#,
                y - 7.5
            )),
        }
    }

    /// The file.
    pub(super) fn finish(self) -> String {
        let Self { height, title, body } = self;
        let (width, inner) = (WIDTH, (WIDTH - 1.0, height - 1.0));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n\
             <rect x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\" class=\"page\"/>\n{body}</svg>\n",
            inner.0, inner.1
        )
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.body, "{element}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

//! The waterfall: an attempt's spans over time. [`model`] is pure and knows
//! order, nesting, filters and the critical path; the rest draws the rows that
//! are in sight as SVG, whose geometry needs no inline style.

pub mod minimap;
pub mod model;
pub mod panel;
pub mod view;

pub use panel::SpanPanel;
pub use view::Waterfall;

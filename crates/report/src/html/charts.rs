//! Ledger bars and latency histograms as inline pictures.

use crate::{
    blocks::{Bar, Distribution, Line},
    clean, format,
};
use maud::{Markup, html};
use observe::{Histogram, Ratio, TimeClass};
use std::time::Duration;

/// `blocked.kernel_lock` as a style class.
fn class_style(class: Option<TimeClass>) -> String {
    format!("t-{}", class.map_or("unknown".to_owned(), |class| class.name().replace(['.', '_'], "-")))
}

pub fn bars(bars: &[Bar<'_>]) -> Markup {
    let seen = |class: &TimeClass| {
        bars.iter().any(|bar| bar.parts.iter().any(|(part, share)| *part == Some(*class) && *share >= 0.001))
    };
    html! {
        ul.legend {
            @for class in TimeClass::ALL.iter().filter(|class| seen(class)) {
                li title=(class.about()) { span class={ "swatch " (class_style(Some(*class))) } {} (class.name()) }
            }
        }
        div.bars {
            @for bar in bars {
                div.name title=(clean(bar.name)) { (clean(bar.name)) " " span.dim { (bar.thread) } }
                div.bar {
                    @for (class, share) in &bar.parts {
                        @let share = share.clamp(0.0, 1.0);
                        span class=(class_style(*class)) style={ "width:" (format!("{:.3}", share * 100.0)) "%" }
                            title={ (format::percent(share)) ", " (format::seconds(share * bar.seconds)) ": "
                                (class.map_or("a class this version does not know", TimeClass::about)) } {}
                    }
                }
                div.wall { (format::seconds(bar.seconds)) }
            }
        }
    }
}

/// Picture size.
const WIDTH: f64 = 340.0;
const HEIGHT: f64 = 96.0;
/// Below the bars, for the axis.
const AXIS: f64 = 18.0;

pub fn distributions(shown: &[Distribution]) -> Markup {
    // One axis for all of a kind, so that they can be compared by eye.
    let lows = shown.iter().filter_map(|d| d.histogram.buckets.first()).map(|bucket| bucket.low.max(1));
    let low = lows.min().unwrap_or(1).ilog10();
    let high = shown.iter().map(|d| d.histogram.max.max(1)).max().unwrap_or(1).ilog10() + 1;
    let axis = Axis { low: low.min(high - 1), high };
    html! {
        @if let Some(first) = shown.first() { h3 { (first.about) } }
        div.distributions { @for d in shown { (distribution(d, &axis)) } }
    }
}

/// Powers of ten of nanoseconds.
struct Axis {
    low: u32,
    high: u32,
}

impl Axis {
    fn x(&self, ns: f64) -> f64 {
        let part = (ns.max(1.0).log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        part.clamp(0.0, 1.0) * WIDTH
    }
}

fn distribution(d: &Distribution, axis: &Axis) -> Markup {
    let h = &d.histogram;
    let bins = half_octaves(h);
    let most = bins.iter().map(|(_, _, count)| *count).max().unwrap_or(1).max(1) as f64;
    let quantile = |part| h.quantile(Ratio(part)).unwrap_or(0);
    let (p50, p99) = (quantile(0.5), quantile(0.99));
    let show = |ns| format::duration(Duration::from_nanos(ns));
    let number = |value: f64| format!("{value:.1}");
    html! {
        figure.distribution {
            figcaption { strong { (clean(&d.title)) } span.dim { (format::count(h.count)) " times, " (show(h.sum)) " in all" } }
            svg viewBox=(format!("0 0 {WIDTH} {}", HEIGHT + AXIS)) role="img" {
                @for power in axis.low..=axis.high {
                    @let x = axis.x(10f64.powi(power.cast_signed()));
                    line.grid x1=(number(x)) x2=(number(x)) y1="0" y2=(HEIGHT) {}
                    @if power < axis.high {
                        text.tick x=(number(x + 2.0)) y=(HEIGHT + 12.0) { (tick(power)) }
                    }
                }
                @for (low, high, count) in &bins {
                    @let (x1, x2) = (axis.x(*low as f64), axis.x(*high as f64));
                    @let tall = (*count as f64 / most * (HEIGHT - 4.0)).max(1.5);
                    rect.bin x=(number(x1 + 0.4)) width=(number((x2 - x1 - 0.8).max(1.0))) y=(number(HEIGHT - tall))
                        height=(number(tall)) { title { (show(*low)) " to " (show(*high)) ": " (format::count(*count)) } }
                }
                @for (style, ns) in [("p50", p50), ("p99", p99), ("max", h.max)] {
                    @let x = number(axis.x(ns as f64));
                    line class={ "mark " (style) } x1=(x) x2=(x) y1="0" y2=(HEIGHT) { title { (style) " " (show(ns)) } }
                }
            }
            div.marks {
                span.p50 { "p50 " strong { (show(p50)) } }
                span.p99 { "p99 " strong { (show(p99)) } }
                span.max { "max " strong { (show(h.max)) } }
            }
        }
    }
}

/// Values over the window, from zero up, all on one axis of time.
pub fn lines(shown: &[Line]) -> Markup {
    let end = shown.iter().flat_map(|line| &line.points).map(|(at, _)| *at).fold(1.0, f64::max);
    html! {
        div.distributions { @for line in shown { (line_chart(line, end)) } }
    }
}

fn line_chart(line: &Line, end: f64) -> Markup {
    let most = line.points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let least = line.points.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
    let top = if most > 0.0 { most * 1.1 } else { 1.0 };
    let at = |(at, value): &(f64, f64)| (at / end * WIDTH, HEIGHT - value.max(0.0) / top * HEIGHT);
    let number = |value: f64| format!("{value:.1}");
    let path: Vec<String> = line.points.iter().map(at).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    html! {
        figure.distribution {
            figcaption { strong { (clean(&line.title)) } span.dim { (format::digits(least)) " to " (format::digits(most)) } }
            svg viewBox=(format!("0 0 {WIDTH} {}", HEIGHT + AXIS)) role="img" {
                @for part in 0..=4 {
                    @let y = number(HEIGHT * f64::from(part) / 4.0);
                    line.grid x1="0" x2=(WIDTH) y1=(y) y2=(y) {}
                }
                text.tick x="2" y="10" { (format::digits(top)) }
                text.tick x="2" y=(number(HEIGHT + 12.0)) { "0 s" }
                text.tick x=(number(WIDTH - 34.0)) y=(number(HEIGHT + 12.0)) { (format!("{end:.0} s")) }
                polyline.line points=(path.join(" ")) { title { (clean(&line.title)) } }
            }
        }
    }
}

/// `10 µs` for 4.
fn tick(power: u32) -> String {
    let unit = ["ns", "µs", "ms", "s"];
    let step = (power / 3).min(3);
    format!("{} {}", 10u64.saturating_pow(power - 3 * step), unit[step as usize])
}

/// The buckets merged to two a doubling, as low, high, count.
fn half_octaves(histogram: &Histogram) -> Vec<(u64, u64, u64)> {
    let mut bins: Vec<(u64, u64, u64)> = Vec::new();
    for bucket in &histogram.buckets {
        let base = 1u64 << bucket.low.max(1).ilog2();
        let middle = base.saturating_add(base / 2);
        let (low, high) =
            if bucket.low < middle || base == 1 { (base, middle) } else { (middle, base.saturating_mul(2)) };
        let (low, high) = if base == 1 { (1, 2) } else { (low, high) };
        match bins.last_mut() {
            Some(last) if last.0 == low => last.2 = last.2.saturating_add(bucket.count),
            _ => bins.push((low, high, bucket.count)),
        }
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::Labels;

    #[test]
    fn every_class_has_a_colour() {
        let style = include_str!("style.css");
        for class in TimeClass::ALL.iter().copied().map(Some).chain([None]) {
            let rule = class_style(class);
            let coloured =
                |line: &str| line.contains("background") && line.split([' ', ',']).any(|w| w == format!(".{rule}"));
            assert!(style.lines().any(coloured), "{rule}");
        }
    }

    #[test]
    fn bins_keep_every_value_and_do_not_overlap() {
        let slots = [3u32; 200];
        let histogram = Histogram::from_slots(Labels::default(), &slots, 0, u64::MAX);
        let bins = half_octaves(&histogram);
        assert_eq!(bins.iter().map(|(_, _, count)| count).sum::<u64>(), 600);
        assert!(bins.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{bins:?}");
    }

    #[test]
    fn ticks_change_unit_every_thousand() {
        assert_eq!([tick(0), tick(4), tick(6), tick(9), tick(11)], ["1 ns", "10 µs", "1 ms", "1 s", "100 s"]);
    }
}

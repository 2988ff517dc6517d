//! Facts, series, histograms and events as tables. Points and buckets are rows of their own, so that data frames can
//! group and plot them as they are.

use super::{At, Columns, Context, Rows, Stored, int, labels, ns, seen, text, unsigned};
use crate::table::{Column, Table, TableError};
use observe::{Bucket, Event, Fact, Histogram, Labels, Observed, Point, Series};
use std::collections::BTreeMap;

impl Stored for Fact {
    const NAME: &'static str = "facts";

    fn columns(tables: &BTreeMap<String, Observed<Vec<Self>>>) -> Columns {
        let rows: Vec<_> = seen(tables).collect();
        vec![
            ("metric", text(&rows, |(metric, _)| (*metric).to_owned())),
            ("labels", text(&rows, |(_, row)| labels(&row.labels))),
            ("value", text(&rows, |(_, row)| row.value.clone())),
            ("source", text(&rows, |(_, row)| row.source.clone())),
        ]
    }

    fn rows(table: &Table, _: Context) -> Result<Rows<Self>, TableError> {
        let (metric, label) = (table.text("metric")?, table.text("labels")?);
        let (value, source) = (table.text("value")?, table.text("source")?);
        let mut rows = Rows::new();
        for at in 0..table.rows() {
            rows.entry(metric[at].to_owned()).or_insert_with(Vec::new).push(Fact {
                labels: At("labels", at).labels(label[at])?,
                value: value[at].to_owned(),
                source: source[at].to_owned(),
            });
        }
        Ok(rows)
    }
}

impl Stored for Series {
    const NAME: &'static str = "series";

    /// One row a point; a series without points has one row without value.
    fn columns(tables: &BTreeMap<String, Observed<Vec<Self>>>) -> Columns {
        let mut rows: Vec<(&str, i64, String, Option<Point>)> = Vec::new();
        for (metric, table) in tables {
            for (index, series) in table.iter().flatten().enumerate() {
                let index = i64::try_from(index).unwrap_or(i64::MAX);
                let labels = labels(&series.labels);
                if series.points.is_empty() {
                    rows.push((metric, index, labels, None));
                } else {
                    rows.extend(series.points.iter().map(|p| (metric.as_str(), index, labels.clone(), Some(*p))));
                }
            }
        }
        vec![
            ("metric", text(&rows, |row| row.0.to_owned())),
            ("series", int(&rows, |row| row.1)),
            ("labels", text(&rows, |row| row.2.clone())),
            ("at_ns", Column::OptInt(rows.iter().map(|row| row.3.map(|p| ns(p.at))).collect())),
            ("value", Column::OptFloat(rows.iter().map(|row| row.3.map(|p| p.value)).collect())),
        ]
    }

    fn rows(table: &Table, _: Context) -> Result<Rows<Self>, TableError> {
        let (metric, series, label) = (table.text("metric")?, table.int("series")?, table.text("labels")?);
        let (times, values) = (table.opt_int("at_ns")?, table.opt_float("value")?);
        let mut rows = Rows::new();
        for at in 0..table.rows() {
            let new = at == 0 || metric[at] != metric[at - 1] || series[at] != series[at - 1];
            let of_metric: &mut Vec<Series> = rows.entry(metric[at].to_owned()).or_default();
            if new {
                of_metric.push(Series { labels: At("labels", at).labels(label[at])?, points: Vec::new() });
            }
            if let (Some(time), Some(value), Some(series)) = (times[at], values[at], of_metric.last_mut()) {
                series.points.push(Point { at: At("at_ns", at).duration(time)?, value });
            }
        }
        Ok(rows)
    }
}

impl Stored for Histogram {
    const NAME: &'static str = "histograms";

    /// One row a bucket, in the metric's unit; an empty distribution has one row without bucket.
    fn columns(tables: &BTreeMap<String, Observed<Vec<Self>>>) -> Columns {
        let mut rows: Vec<(&str, i64, String, &Histogram, Option<Bucket>)> = Vec::new();
        for (metric, table) in tables {
            for (index, histogram) in table.iter().flatten().enumerate() {
                let index = i64::try_from(index).unwrap_or(i64::MAX);
                let labels = labels(&histogram.labels);
                if histogram.buckets.is_empty() {
                    rows.push((metric, index, labels, histogram, None));
                } else {
                    let buckets = histogram.buckets.iter();
                    rows.extend(buckets.map(|b| (metric.as_str(), index, labels.clone(), histogram, Some(*b))));
                }
            }
        }
        let bucket =
            |value: fn(Bucket) -> u64| Column::OptUnsigned(rows.iter().map(|row| row.4.map(value)).collect::<Vec<_>>());
        vec![
            ("metric", text(&rows, |row| row.0.to_owned())),
            ("histogram", int(&rows, |row| row.1)),
            ("labels", text(&rows, |row| row.2.clone())),
            ("count", unsigned(&rows, |row| row.3.count)),
            ("sum", unsigned(&rows, |row| row.3.sum)),
            ("max", unsigned(&rows, |row| row.3.max)),
            ("bucket_low", bucket(|b| b.low)),
            ("bucket_high", bucket(|b| b.high)),
            ("bucket_count", bucket(|b| b.count)),
        ]
    }

    fn rows(table: &Table, _: Context) -> Result<Rows<Self>, TableError> {
        let (metric, index, label) = (table.text("metric")?, table.int("histogram")?, table.text("labels")?);
        let (count, sum, max) = (table.unsigned("count")?, table.unsigned("sum")?, table.unsigned("max")?);
        let (low, high) = (table.opt_int("bucket_low")?, table.opt_int("bucket_high")?);
        let counts = table.opt_int("bucket_count")?;
        let mut rows = Rows::new();
        for at in 0..table.rows() {
            let new = at == 0 || metric[at] != metric[at - 1] || index[at] != index[at - 1];
            let of_metric: &mut Vec<Histogram> = rows.entry(metric[at].to_owned()).or_default();
            if new {
                of_metric.push(Histogram {
                    labels: At("labels", at).labels(label[at])?,
                    count: count[at],
                    sum: sum[at],
                    max: max[at],
                    buckets: Vec::new(),
                });
            }
            let Some(buckets) = of_metric.last_mut().map(|histogram| &mut histogram.buckets) else { continue };
            if let (Some(low), Some(high), Some(count)) = (low[at], high[at], counts[at]) {
                let (low, high, count) = (low.cast_unsigned(), high.cast_unsigned(), count.cast_unsigned());
                if high <= low || buckets.last().is_some_and(|last| last.high > low) {
                    return Err(At("bucket_low", at).error("buckets overlap or are out of order"));
                }
                buckets.push(Bucket { low, high, count });
            }
        }
        check_sums(&rows)?;
        Ok(rows)
    }
}

/// A damaged table must not make those overflow who merge its distributions.
fn check_sums(rows: &Rows<Histogram>) -> Result<(), TableError> {
    fn fits(values: impl Iterator<Item = u64>) -> bool {
        let mut values = values;
        values.try_fold(0u64, u64::checked_add).is_some()
    }
    let sane = rows.values().all(|table| {
        fits(table.iter().flat_map(|h| h.buckets.iter().map(|b| b.count)))
            && fits(table.iter().map(|h| h.count))
            && fits(table.iter().map(|h| h.sum))
    });
    if sane { Ok(()) } else { Err(At("count", 0).error("the counts are larger than can be")) }
}

impl Stored for Event {
    const NAME: &'static str = "events";

    fn columns(tables: &BTreeMap<String, Observed<Vec<Self>>>) -> Columns {
        let rows: Vec<_> = seen(tables).collect();
        vec![
            ("metric", text(&rows, |(metric, _)| (*metric).to_owned())),
            ("at_ns", int(&rows, |(_, row)| ns(row.at))),
            ("pid", Column::OptInt(rows.iter().map(|(_, row)| row.pid.map(|pid| i64::from(pid.0))).collect())),
            ("labels", text(&rows, |(_, row)| labels(&row.labels))),
            ("value", Column::OptFloat(rows.iter().map(|(_, row)| Some(row.value)).collect())),
        ]
    }

    fn rows(table: &Table, _: Context) -> Result<Rows<Self>, TableError> {
        let (metric, times, pids) = (table.text("metric")?, table.int("at_ns")?, table.opt_int("pid")?);
        let (label, values) = (table.text("labels")?, table.opt_float("value")?);
        let mut rows = Rows::new();
        for at in 0..table.rows() {
            let labels: Labels = At("labels", at).labels(label[at])?;
            rows.entry(metric[at].to_owned()).or_insert_with(Vec::new).push(Event {
                at: At("at_ns", at).duration(times[at])?,
                pid: pids[at].map(|pid| At("pid", at).pid(pid)).transpose()?,
                labels,
                value: values[at].ok_or_else(|| At("value", at).error("no value"))?,
            });
        }
        Ok(rows)
    }
}

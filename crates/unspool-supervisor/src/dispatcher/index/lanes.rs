//! Lanes: one for each folder of the spool, and the order in which they are served.

use std::collections::BinaryHeap;

use unspool_core::Priority;

use super::{Index, Lane};
use crate::snapshot::Depth;

impl Index {
    /// The lane of a folder, made if it is new.
    pub(in super::super) fn lane(&mut self, priority: Option<&Priority>) -> u32 {
        let is_it = |lane: &Lane| lane.priority.as_ref() == priority;
        if let Some(known) = self.lanes.iter().position(is_it) {
            self.lanes[known].retired = false;
            return known as u32;
        }
        let new = Lane {
            priority: priority.cloned(),
            ready: BinaryHeap::new(),
            depth: Depth::default(),
            retired: false,
            paused: false,
        };
        let lane = if let Some(free) = self.lanes.iter().position(|lane| lane.retired) {
            self.lanes[free] = new;
            free
        } else {
            self.lanes.push(new);
            self.lanes.len() - 1
        };
        self.sort_lanes();
        lane as u32
    }

    pub(super) fn sort_lanes(&mut self) {
        let mut order: Vec<u32> = (0..self.lanes.len() as u32).collect();
        // Priorities ascending; no priority comes last, and behind that what is paused: so it is the
        // first to leave a memory that is full.
        order.sort_by(|a, b| {
            let (a, b) = (&self.lanes[*a as usize], &self.lanes[*b as usize]);
            let rank = |lane: &Lane| (lane.paused, lane.priority.is_none());
            rank(a).cmp(&rank(b)).then_with(|| a.priority.cmp(&b.priority))
        });
        self.order = order;
    }

    /// Lets a lane be used for another priority, if no task is in it.
    pub(in super::super) fn retire_lane(&mut self, lane: u32) {
        let used = self.entries.iter().flatten().any(|entry| entry.lane == lane);
        if let Some(lane) =
            self.lanes.get_mut(lane as usize).filter(|lane| lane.priority.is_some() && !used)
        {
            lane.retired = true;
        }
    }

    /// The lane of a priority that has one.
    pub(in super::super) fn known_lane(&self, priority: &Priority) -> Option<u32> {
        let known = |lane: &Lane| lane.priority.as_ref() == Some(priority) && !lane.retired;
        self.lanes.iter().position(known).map(|lane| lane as u32)
    }

    /// The priority of a lane.
    pub(in super::super) fn priority(&self, lane: u32) -> Option<&Priority> {
        self.lanes.get(lane as usize).and_then(|lane| lane.priority.as_ref())
    }

    /// Lanes there are, those that wait for another priority included.
    pub(in super::super) fn lane_count(&self) -> usize {
        self.lanes.len()
    }

    /// Lanes in use.
    pub(in super::super) fn lanes_used(&self) -> usize {
        self.lanes.iter().filter(|lane| !lane.retired).count()
    }

    /// Where the tasks of each folder in use stand, in the order in which folders are served.
    pub(in super::super) fn depths(&self) -> impl Iterator<Item = (Option<&Priority>, Depth)> {
        let lanes = self.order.iter().filter_map(|lane| self.lanes.get(*lane as usize));
        lanes.filter(|lane| !lane.retired).map(|lane| (lane.priority.as_ref(), lane.depth()))
    }
}

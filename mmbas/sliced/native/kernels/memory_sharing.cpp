#include "memory_sharing.h"

#include <algorithm>
#include <map>
#include <set>

namespace f32 {
namespace {

// First and last step that uses a map.
struct Span {
    int first, last;
    bool overlaps(const Span &other) const { return first <= other.last && other.first <= last; }
};

std::map<const FeatureMap *, Span> spans_of(const std::deque<Step> &steps) {
    std::map<const FeatureMap *, Span> spans;
    for (int i = 0; i < (int)steps.size(); i++)
        for (const FeatureMap *map : {steps[i].source, steps[i].target})
            if (map) spans.insert({map, {i, i}}).first->second.last = i;
    return spans;
}

// At the lowest place that no rival takes.
void place_between(FeatureMap &map, std::vector<FeatureMap *> rivals, int64_t start) {
    std::stable_sort(rivals.begin(), rivals.end(), [](const FeatureMap *a, const FeatureMap *b) {
        return a->start() < b->start();
    });
    int64_t position = start;
    for (const FeatureMap *other : rivals) {
        if (other->start() >= position + map.num_floats()) break;
        position = std::max(position, other->start() + other->num_floats());
    }
    map.place(position);
}

// Before the first step that writes a map, its memory is cleared.
void insert_clearing(Draft &draft) {
    std::set<const FeatureMap *> cleared;
    std::deque<Step> steps;
    for (const Step &step : draft.steps) {
        if (step.target && cleared.insert(step.target).second) {
            Op op = {};
            op.kind = kClear;
            op.out_offset = step.target->start();
            op.in_offset = op.out_offset + step.target->num_floats();
            steps.push_back({op});
        }
        steps.push_back(step);
    }
    draft.steps = std::move(steps);
}

}  // namespace

int64_t place_maps(Draft &draft, int64_t start, int64_t unshared) {
    int64_t all = 0;
    std::vector<FeatureMap *> maps;
    for (FeatureMap &map : draft.maps.maps) {
        map.place(start + all);
        all += map.num_floats();
        maps.push_back(&map);
    }
    if (all <= unshared) return start + all;
    const auto spans = spans_of(draft.steps);
    std::stable_sort(maps.begin(), maps.end(), [](const FeatureMap *a, const FeatureMap *b) {
        return a->num_floats() > b->num_floats();
    });
    int64_t end = start;
    for (size_t i = 0; i < maps.size(); i++) {
        std::vector<FeatureMap *> rivals;
        for (size_t j = 0; j < i; j++)
            if (spans.at(maps[j]).overlaps(spans.at(maps[i]))) rivals.push_back(maps[j]);
        place_between(*maps[i], rivals, start);
        end = std::max(end, maps[i]->start() + maps[i]->num_floats());
    }
    insert_clearing(draft);
    return end;
}

}  // namespace f32

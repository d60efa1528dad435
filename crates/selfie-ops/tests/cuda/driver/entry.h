// Kernels by name, called with the addresses of their arguments, as the driver has them.
#pragma once
#include <map>
#include <string>
#include <utility>

#include "../emulate.h"

typedef std::function<void(dim3, dim3, void**)> Entry;

template <class... A, size_t... I>
static void call(void (*kernel)(A...), dim3 grid, dim3 block, void** arguments, std::index_sequence<I...>) {
    launch(grid, block, kernel, *(std::remove_reference_t<A>*)arguments[I]...);
}

template <class... A>
static Entry wrap(void (*kernel)(A...), bool is_plain) {
    return [=](dim3 grid, dim3 block, void** arguments) {
        plain = is_plain;
        call(kernel, grid, block, arguments, std::index_sequence_for<A...>{});
    };
}

static bool find(const std::map<std::string, Entry>& kernels, const char* name, Entry* entry) {
    auto at = kernels.find(name);
    if (at == kernels.end()) return false;
    *entry = at->second;
    return true;
}

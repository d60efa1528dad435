// A name that is declared, not computed with.
#pragma once

struct __half {
    unsigned short x;
    __half() {}
    __half(float) {}
    operator float() const { return 0; }
};

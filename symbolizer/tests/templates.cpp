#include <algorithm>
#include <map>
#include <string>
#include <vector>

namespace shapes {
template <typename T> struct Stack {
    std::vector<T> items;
    void push(const T &item) { items.push_back(item); }
    T total() const {
        T sum{};
        for (const T &item : items) sum += item;
        return sum;
    }
};
static int twice(int x) { return 2 * x; }
__attribute__((noinline)) int area(int side) {
    Stack<int> stack;
    for (int i = 0; i < side; i++) stack.push(twice(i));
    std::sort(stack.items.begin(), stack.items.end(), [](int a, int b) { return a > b; });
    return stack.total();
}
}

int main(int argc, char **argv) {
    std::map<std::string, int> sizes;
    for (int i = 0; i < argc; i++) sizes[argv[i]] = shapes::area(i + 3);
    int sum = 0;
    for (auto &[name, size] : sizes) sum += size + (int)name.size();
    return sum == 42;
}

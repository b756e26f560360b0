"use strict";
(function () {
    // Where nothing of a name fits, no dots either: towers of them only distract.
    var fit = update_text_for_elements;
    update_text_for_elements = function (elements) {
        fit(elements);
        for (var i = 0; i < elements.length; i++) {
            var text = find_child(elements[i], "text");
            if (text.textContent === "..") text.textContent = "";
        }
    };

    var units = {
        nanoseconds: [[1e9, " s", 2], [1e6, " ms", 1], [1e3, " µs", 1]],
        bytes: [[1073741824, " GiB", 2], [1048576, " MiB", 1], [1024, " KiB", 1], [1, " B", 0]],
    };

    function quantity(value) {
        var scale = units[unit];
        var i = 0;
        while (i < scale.length - 1 && value < scale[i][0]) i++;
        return (value / scale[i][0]).toFixed(scale[i][2]) + scale[i][1];
    }

    // Beside a frame's share stands the time or the memory that it took, where that is known.
    window.addEventListener("mouseover", function (event) {
        var frame = find_group(event.target);
        if (!frame || !per_sample) return;
        var samples = parseInt(frame.querySelector("rect").getAttribute("fg:w"), 10);
        details.nodeValue += " · " + quantity(samples * per_sample);
    });
})();
